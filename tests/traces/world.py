"""A small cluster in memory, and a recorder of the steps of the engine, one line per step.

The engine under test is the real one. The world plays what is outside of it: the API server's bookkeeping, the
controllers that make pods of Deployments and slices of Services, and the time.
"""

import copy
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.announce import Announcement
from engine.checks import Check, CheckOutcome, CheckResult, QueryCheck
from engine.conditions import RECORDED
from engine.fleet.proxy import Proxy, read_proxy
from engine.fleet.reports import Report
from engine.last_status import read_status
from engine.model.entries import Configuration, Entry, PhaseChange, WeightChange
from engine.model.spec import KanarySpec
from engine.model.states import Endpoint, Written, applied_in, read_written
from engine.model.status import KanaryStatus
from engine.observe import Defaults
from engine.ports import Recorded, RejectedError, RetryLaterError, rejected
from engine.reconcile import Reconciler, Step
from engine.render.adoption import adopter, given_back
from engine.render.objects import KANARY_LABEL, Identity, covers, is_ours, made_from, owner_uid
from states import Problem, Reason
from states.catalogue import CATALOGUE
from tests import kstatus

Json = dict[str, Any]
START = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "default"
IMAGE = "haproxy:test"


class ScriptedChecks:
    """Implements `engine.ports.Checks`."""

    def __init__(self) -> None:
        self.answers: dict[str, CheckResult] = {}
        """The results of queries and webhooks, by their names; the others are pending."""
        self.asked: list[str] = []
        """The id of each check, as often as it was started."""
        self.wanted: dict[str, Check] = {}
        self.started: set[str] = set()
        """The ids of those that no reconcile has had a result of."""

    def results(
        self, _namespace: str, _name: str, wanted: Sequence[Check], *, are_all: bool = True
    ) -> Mapping[str, CheckResult]:
        """The results of these checks; one that has just been started has none."""
        new = {check.id for check in wanted} - self.wanted.keys()
        self.asked += [check.id for check in wanted if check.id in new]
        self.wanted = ({} if are_all else self.wanted) | {check.id: check for check in wanted}
        self.started = (self.started | new) & self.wanted.keys()
        return {check.id: self._answer(check) for check in wanted}

    def answer(self) -> bool:
        """Have those that were started get their answers; returns whether there was any."""
        is_news = any(self._name(self.wanted[each]) in self.answers for each in self.started)
        self.started.clear()
        return is_news

    @staticmethod
    def _name(check: Check) -> str:
        return check.query.name if isinstance(check, QueryCheck) else check.webhook.name

    def _answer(self, check: Check) -> CheckResult:
        if check.id in self.started:
            return CheckResult(CheckOutcome.PENDING)
        return self.answers.get(self._name(check), CheckResult(CheckOutcome.PENDING))


class World:
    """Objects by (kind, name) in one namespace; implements every port of the engine."""

    def __init__(self) -> None:
        self.time = START
        self.objects: dict[tuple[str, str], Json] = {}
        self.story: list[str] = []
        self.events: list[str] = []
        self.rejections: dict[str, str] = {}
        """By kind, the error of the API server for an apply."""
        self.die_after: int | None = None
        """Writes that succeed before the operator's process dies."""
        self.slow_proxies = False
        self.stop_slowly = False
        self.templates: list[Json] = []
        """Of former ReplicaSets that are still to have pods, though none of these is there."""
        self.family = "IPv4"
        """Of every address that is given from now on."""
        self.bad_images: dict[str, str] = {}
        self.silent_agents: set[str] = set()
        """Names of proxies' pods whose agents do not answer: their last reports stay."""
        self.heard: dict[str, Report] = {}
        self.dead: set[str] = set()
        """Names of proxies' pods whose node is gone: nothing about them changes any more."""
        self.clock_error = timedelta()
        """How far the operator's clock is ahead of the cluster's."""
        self.sending_fails = False
        """Nothing that is sent to agents arrives, until this ends."""
        self.sendings: set[str] = set()
        """Names of the proxies' pods to which the operator's process sends the configuration."""
        self.haproxy_rejects = ""
        """The error of HAProxy for any configuration that is mounted from now on."""
        self.status_writes = 0
        self.writes = 0
        self.reported: dict[str, Report] = {}
        """By pod, what its agent reports."""
        self._serial = itertools.count(1)
        self._templates: dict[str, int] = {}
        self._addresses = itertools.count(1)
        self._seen: dict[tuple[str, str], Json] = {}
        """What the engine was given last: as from a cache, the same object as long as it is of the same content."""
        self.history = Recorded(10**6, RECORDED)
        self.entries: dict[int, Entry] = {}
        """What the history was given, by number."""
        self.passed: list[tuple[str, str]] = []
        """The moves of the last step: each phase, and why."""
        self._latest: dict[str, tuple[Any, str]] = {}
        """Of each Kanary, the phase as last reported, and the status that the cluster had then."""
        self.configurations: dict[str, Configuration] = {}
        self.checks = ScriptedChecks()
        self.key = "public key"
        """The operator's; "" if it has none."""
        self.restart_operator()

    # What users and controllers do.

    def restart_operator(self) -> None:
        """Another process, which has to read everything from the cluster."""
        self.sendings.clear()
        self._latest = {}
        self.checks.wanted = {}
        self.reconciler = Reconciler(
            self, self, self, history=self, checks=self.checks, clock=self, defaults=Defaults(IMAGE)
        )

    def create_service(self, name: str, pods: int, *, port: Json | None = None, **spec: Any) -> None:
        """A Service with so many ready pods behind it."""
        self.put_service(name, port, **spec)
        self.scale(name, pods)

    def put_service(self, name: str, port: Json | None = None, **spec: Any) -> None:
        """A Service, or another version of it; slices are left as they are."""
        self._put("Service", name, {"spec": {"ports": [port or {"name": "http", "port": 80}], **spec}})

    def scale(self, name: str, pods: int) -> None:
        """Give a Service exactly so many ready pods; those that stay keep their addresses."""
        known = self.objects.get(("EndpointSlice", name), {}).get("endpoints", [])
        for endpoint in known[pods:]:
            self.remove("BackendPod", endpoint["targetRef"]["name"])
        endpoints = known[:pods] + [self._start_pod(name) for _ in range(pods - len(known))]
        port = self.objects["Service", name]["spec"]["ports"][0]
        ports = [{"name": port.get("name"), "port": 9000}]
        body = {"addressType": self.family, "ports": ports, "endpoints": endpoints}
        self._put("EndpointSlice", name, body)

    def remove(self, kind: str, name: str) -> None:
        """Delete an object, and with a Service its slices; the pods behind it live on."""
        self.objects.pop((kind, name), None)
        if kind == "Service":
            self.objects.pop(("EndpointSlice", name), None)

    def lose(self, pod: str) -> None:
        """A proxy is gone, with its node; the Deployment makes another one in its place."""
        self.remove("Pod", pod)
        self.reported.pop(pod, None)

    def apply_kanary(self, name: str = "rule", **spec: Any) -> None:
        """What `kubectl apply` does: a new generation where the spec differs.

        Most stories are of proxies that are replaced at each change. Of those that take one as they run tells
        `test_live.py`.
        """
        spec = {"updateStrategy": "Rolling", **spec}
        old = self.objects.get(("Kanary", name))
        generation = (old["metadata"]["generation"] + (old["spec"] != spec)) if old else 1
        body: Json = {"spec": spec}
        if old and "status" in old:
            body["status"] = old["status"]
        kept = (
            {key: old["metadata"][key] for key in ("annotations", "finalizers") if key in old["metadata"]}
            if old
            else {}
        )
        self._put("Kanary", name, body | {"metadata": kept})
        self.objects["Kanary", name]["metadata"]["generation"] = generation

    def annotate(self, key: str, value: str | None, name: str = "rule") -> None:
        """What `kubectl annotate` does to a Kanary; None removes the annotation."""
        kanary = copy.deepcopy(self.objects["Kanary", name])
        annotations = kanary["metadata"].setdefault("annotations", {})
        annotations.pop(key, None)
        if value is not None:
            annotations[key] = value
        self.objects["Kanary", name] = kanary

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)
        self._deliver()

    def live_through(self, seconds: float) -> None:
        """Let time pass, and reconcile whenever the engine requests it."""
        end = self.time + timedelta(seconds=seconds)
        while self.time < end:
            self._deliver()
            requeue = self.settle().requeue
            self.time = min(self.time + (requeue.after if requeue else end - self.time), end)

    # Telling.

    def step(self, name: str = "rule") -> Step:
        """One reconcile, recorded in the story."""
        before = self.phase(name)
        self.passed.clear()
        outcome = self.reconciler.reconcile(NAMESPACE, name)
        decision = outcome.decision
        if decision:
            for phase, why in self.passed[:-1]:
                self.story.append(f"{before} -> {phase}\n    {why}")
                before = phase
            after = self.phase(name)
            move = f"{before} -> {after}" if decision.trigger else after
            actions = ", ".join(decision.actions) or "nothing"
            line = f"{move} ({decision.rule}; does {actions})\n    {decision.reason}: {decision.message}"
            if self.story[-1:] != [line]:
                self.story.append(line)
        return outcome

    def run(self, what: str, name: str = "rule") -> None:
        """Tell what happened, then reconcile until nothing more follows at once, controllers included."""
        self.story.append(f"\n# {what}")
        self.settle(name)

    def settle(self, name: str = "rule") -> Step:
        """Reconcile until the engine is at rest and the controllers have nothing left to do; the last outcome."""
        for _ in range(30):
            outcome = self.step(name)
            moved = self.roll_proxies() or self._has_news() or self.checks.answer()
            if moved or (outcome.requeue and not outcome.requeue.after):
                continue
            if outcome.requeue is None or self.phase(name) == self.stored_phase(name):
                return outcome
            # The status is written a moment later.
            self.time += outcome.requeue.after
        raise AssertionError("does not come to rest:\n" + "\n".join(self.story))

    def roll_proxies(self) -> bool:
        """Play the Deployment controller and the kubelet; returns whether anything changed."""
        deployments = [obj for (kind, _), obj in self.objects.items() if kind == "Deployment"]
        moves = [self._roll(deployment) for deployment in deployments]
        return any(moves)

    @property
    def text(self) -> str:
        """The story so far."""
        return "\n".join(self.story).lstrip() + "\n"

    def status(self, name: str = "rule") -> Json:
        """The Kanary's status."""
        status: Json = self.objects["Kanary", name].get("status", {})
        return status

    def phase(self, name: str = "rule") -> str:
        """The Kanary's phase, which the status may not have yet."""
        stored, phase = self._latest.get(name, (None, ""))
        is_known = phase and stored == self.objects.get(("Kanary", name), {}).get("status")
        return phase if is_known else self.stored_phase(name)

    def stored_phase(self, name: str = "rule") -> str:
        """The phase in the status."""
        status = self.objects.get(("Kanary", name), {}).get("status")
        return str(status.get("phase", "(none)")) if isinstance(status, dict) else "(none)"

    def moves(self, name: str = "rule") -> list[PhaseChange]:
        """The last moves of the state machine, as the status has them."""
        entries = read_status(self.objects["Kanary", name]).history
        return [entry for entry in (entries.entries if entries else ()) if isinstance(entry, PhaseChange)]

    def config(self, name: str = "rule") -> str:
        """The haproxy.cfg that is applied."""
        text: str = self.objects["ConfigMap", f"{name}-haproxy"]["data"]["haproxy.cfg"]
        return text

    # engine.ports.ClusterView

    def kanary(self, namespace: str, name: str) -> Json | None:
        return self._get("Kanary", namespace, name)

    def kanaries_for(self, namespace: str, destination: str) -> Sequence[Json]:
        return [k for k in self._all("Kanary") if k["spec"].get("destination") == destination]

    def service(self, namespace: str, name: str) -> Json | None:
        return self._get("Service", namespace, name)

    def owned_by(self, namespace: str, uid: str) -> Sequence[Json]:
        return [
            obj for obj in [*self._all("Service"), *self._all("ConfigMap")] if uid in (owner_uid(obj), adopter(obj))
        ]

    def adopted_by(self, namespace: str, uid: str) -> Sequence[Json]:
        return [obj for obj in self._all("Service") if adopter(obj) == uid]

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        found = self._get("EndpointSlice", namespace, service)
        return [found] if found else []

    def proxies_among(
        self, namespace: str, endpoints: Sequence[Endpoint]
    ) -> Mapping[Endpoint, frozenset[tuple[str, str]]]:
        pods = {endpoint: self._get("Pod", namespace, endpoint.pod) for endpoint in endpoints}
        return {e: frozenset({(namespace, pod["metadata"]["labels"][KANARY_LABEL])}) for e, pod in pods.items() if pod}

    def is_stale(self, kanary: Json) -> bool:
        now = self.objects["Kanary", kanary["metadata"]["name"]]["metadata"]
        return bool(now["generation"] > kanary["metadata"]["generation"])

    def live(self, desired: Json) -> Json | None:
        return self._get(desired["kind"], desired["metadata"]["namespace"], desired["metadata"]["name"])

    def proxy_pods(self, namespace: str, kanary: str) -> Sequence[Json]:
        return [pod for pod in self._all("Pod") if pod["metadata"]["labels"][KANARY_LABEL] == kanary]

    def pod_templates(self, namespace: str, kanary: str) -> Sequence[Json]:
        return self.templates

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        self.heard |= {name: self.reported[name] for name in self._connected()}
        names = {pod["metadata"]["name"] for pod in pods}
        return {name: self.heard[name] for name in names if name in self.heard}

    def public_key(self) -> str:
        return self.key

    def _connected(self) -> set[str]:
        """The proxies whose reports arrive."""
        return {
            name for kind, name in self.objects if kind == "Pod"
        } & self.reported.keys() - self.silent_agents - self.dead

    def _has_news(self) -> bool:
        """Whether a report has arrived since the last reconcile that differs in more than counts."""
        news = {name: self.reported[name].state for name in self._connected()}
        return any(name not in self.heard or self.heard[name].state != state for name, state in news.items())

    def pod_addresses(self, namespace: str, names: frozenset[str]) -> Mapping[str, frozenset[str]]:
        pods = {pod["metadata"]["name"]: frozenset({pod["address"]}) for pod in self._all("BackendPod")}
        return {name: pods[name] for name in names & pods.keys()}

    # engine.ports.ClusterWriter

    def apply(self, desired: Json) -> None:
        live = self.live(desired)
        if live and adopter(desired):
            desired = {
                **live,
                "metadata": {
                    **live["metadata"],
                    "ownerReferences": [],
                    **{
                        part: {**(live["metadata"].get(part) or {}), **desired["metadata"][part]}
                        for part in ("labels", "annotations")
                    },
                },
                "spec": {**live["spec"], **desired["spec"]},
            }
        elif live and not is_ours(live, owner_uid(desired), desired["metadata"]["labels"]):
            raise RejectedError(Problem(Reason.OBJECT_EXISTS, f"{desired['kind']} exists and is not ours"))
        if live and made_from(live, desired) and covers(live, desired):
            return
        self._reject(desired["kind"])
        self._count_write()
        former = applied_in(live or {})
        if (served := applied_in(desired)) and (former is None or former.revision != served.revision):
            changes = {(each.revision, each.after) for each in self.entries.values() if isinstance(each, WeightChange)}
            assert (served.revision, served.spec.shares) in changes, "the history has what is served before it is"
        kept = {"status": live["status"]} if live and "status" in live else {}
        generation = (live or {"metadata": {}})["metadata"].get("generation", 0) + 1
        self._put(desired["kind"], desired["metadata"]["name"], {**copy.deepcopy(desired), **kept})
        self.objects[desired["kind"], desired["metadata"]["name"]]["metadata"]["generation"] = generation

    def delete(self, existing: Json) -> None:
        self._count_write()
        self.objects.pop((existing["kind"], existing["metadata"]["name"]), None)

    def give_back(self, adopted: Json) -> None:
        self._reject("Service")
        self._count_write()
        self._put("Service", adopted["metadata"]["name"], given_back(adopted))

    def _reject(self, kind: str) -> None:
        if kind in self.rejections:
            raise rejected(self.rejections[kind])

    def set_finalizer(self, kanary: Json, finalizer: str, *, is_present: bool) -> Json:
        self._reject("Kanary")
        self._count_write()
        name = kanary["metadata"]["name"]
        self.objects["Kanary", name]["metadata"]["finalizers"] = [finalizer] if is_present else []
        written = self.kanary(NAMESPACE, name)
        assert written
        return written

    def send(self, proxies: Sequence[Proxy], owner: Identity, written: Written) -> None:
        if self.die_after == 0:
            raise RetryLaterError("the process died")
        self.sendings |= {proxy.name for proxy in proxies}
        self._deliver()

    def _deliver(self) -> None:
        """Have what is sent arrive where it can."""
        self.sendings &= {name for kind, name in self.objects if kind == "Pod"}
        if not self.sending_fails:
            for name in self.sendings - self.dead:
                self._renew(name)
            self.sendings &= self.dead

    def forget(self, namespace: str, name: str) -> None:
        """Nothing is kept."""

    def write_status(self, kanary: Json, status: Json) -> Json:
        self._count_write()
        self.status_writes += 1
        kstatus.check(status)
        self.objects["Kanary", kanary["metadata"]["name"]]["status"] = copy.deepcopy(status)
        written = self.kanary(NAMESPACE, kanary["metadata"]["name"])
        assert written
        return written

    # engine.ports.History

    def recorded(self, uid: str) -> Recorded:
        return self.history

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        self.entries |= {entry.number: entry for entry in entries}
        if configuration:
            self.configurations[configuration.digest] = configuration

    def store(self, kanary: Json, entries: Sequence[Entry]) -> None:
        self.record(kanary, entries, None)

    def deleted(self, namespace: str, name: str) -> None:
        pass

    # engine.ports.Reporter and Clock

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        if trigger:
            self.passed.append(("", f"{reason}: {message}"))

    def announce(self, kanary: Json, announcement: Announcement) -> None:
        assert any(announcement.reason in each for each in CATALOGUE.values()), (
            "kanary explain has to know the reason of every Event"
        )
        kind = "Warning" if announcement.is_warning else "Normal"
        self.events.append(f"{kind} {announcement.reason}: {announcement.message}")

    def observed(self, kanary: Json, status: KanaryStatus, spec: KanarySpec | None, *, is_stored: bool) -> None:
        name = kanary["metadata"]["name"]
        self._latest[name] = copy.deepcopy(self.objects["Kanary", name].get("status")), status.phase
        if self.passed and not self.passed[-1][0]:
            self.passed[-1] = status.phase, self.passed[-1][1]

    def gone(self, namespace: str, name: str) -> None:
        self.story.append(f"{name} is gone")

    def now(self) -> datetime:
        return self.time + self.clock_error

    # The bookkeeping.

    def _put(self, kind: str, name: str, body: Json) -> None:
        old = self.objects.get((kind, name))
        metadata = {
            "uid": old["metadata"]["uid"] if old else f"uid-{next(self._serial)}",
            "creationTimestamp": old["metadata"]["creationTimestamp"] if old else self.time.isoformat(),
            "generation": old["metadata"].get("generation", 1) if old else 1,
            **body.get("metadata", {}),
            "name": name,
            "namespace": NAMESPACE,
        }
        self.objects[kind, name] = {"kind": kind, **body, "metadata": metadata}

    def _get(self, kind: str, namespace: str, name: str) -> Json | None:
        return self._copy((kind, name)) if namespace == NAMESPACE and (kind, name) in self.objects else None

    def _all(self, kind: str) -> list[Json]:
        return [self._copy(key) for key in self.objects if key[0] == kind]

    def _copy(self, key: tuple[str, str]) -> Json:
        if self._seen.get(key) != self.objects[key]:
            self._seen[key] = copy.deepcopy(self.objects[key])
        return self._seen[key]

    def _count_write(self) -> None:
        self.writes += 1
        if self.die_after is not None:
            if self.die_after == 0:
                raise RetryLaterError("the process died")
            self.die_after -= 1

    def _roll(self, deployment: Json) -> bool:
        before = copy.deepcopy(self.objects)
        metadata, spec = deployment["metadata"], deployment["spec"]
        kanary = spec["template"]["metadata"]["labels"][KANARY_LABEL]
        # Numbered, not hashed: a story stays the same when something else is rendered.
        text = json.dumps(spec["template"], sort_keys=True)
        made_of = self._templates.setdefault(text, len(self._templates) + 1)
        image = spec["template"]["spec"]["containers"][0]["image"]
        is_well = image not in self.bad_images and not self.slow_proxies
        desired = [f"{metadata['name']}-template{made_of}-{number}" for number in range(spec["replicas"])]
        for name in desired:
            is_new = ("Pod", name) not in self.objects
            if (is_well or is_new) and name not in self.dead:
                annotations = {} if is_new else self.objects["Pod", name]["metadata"]["annotations"]
                self._put("Pod", name, self._pod(spec["template"], image, is_well))
                self.objects["Pod", name]["metadata"]["annotations"] |= annotations
            if is_new:
                self._renew(name)
        for pod in self.proxy_pods(NAMESPACE, kanary):
            # Of former ones, those that are not ready are ended first, whether the new ones get ready or not.
            is_ready = pod["status"]["conditions"][0]["status"] == "True"
            if pod["metadata"]["name"] not in desired and (is_well or not is_ready):
                self._stop_pod(pod["metadata"]["name"])
        pods = [pod for pod in self.proxy_pods(NAMESPACE, kanary) if "deletionTimestamp" not in pod["metadata"]]
        ready = [pod for pod in pods if pod["status"]["conditions"][0]["status"] == "True"]
        self.objects["Deployment", metadata["name"]]["status"] = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(desired),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
        }
        for service in self._all("Service"):
            if service["spec"].get("selector") == spec["selector"]["matchLabels"]:
                self._lead_to(service, ready)
        return before != self.objects

    def _renew(self, name: str) -> None:
        """Have a proxy's pod see the ConfigMap as it is now, if it follows it, and its agent do what agents do."""
        pod = self.objects["Pod", name]
        mounted = self.objects["ConfigMap", f"{pod['metadata']['labels'][KANARY_LABEL]}-haproxy"]
        written = read_written(mounted)
        applied = written.applied
        if not read_proxy(pod, None).is_live or applied is None:
            return
        before = self.reported.get(name, Report(""))
        if self.haproxy_rejects:
            # Without a configuration of its own, one begins with what others have accepted.
            accepted = re.search(r"proc\.digest str\((\w+)\)", written.accepted)
            before = before if before.digest or not accepted else replace(before, digest=accepted[1])
            report = replace(before, rejected_digest=applied.digest, rejection=self.haproxy_rejects)
        else:
            is_back = _keeps_rollback(before, written)
            digest = rolled_back_digest(applied.digest) if is_back else applied.digest
            report = replace(before, digest=digest, rejected_digest="", rejection="", max_connections=20_000)
            report = report if is_back else replace(report, rolled_back=None)
        self.reported[name] = report

    def _stop_pod(self, name: str) -> None:
        """Take a pod away at once, or give it its grace period."""
        if not self.stop_slowly:
            self.remove("Pod", name)
            return
        grace = 600
        killed_at = (self.time + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = self.objects["Pod", name]["metadata"]
        metadata.setdefault("deletionTimestamp", killed_at)
        metadata["deletionGracePeriodSeconds"] = grace

    def _lead_to(self, service: Json, pods: list[Json]) -> None:
        endpoints = [
            _endpoint(f"{self._network(1)}{number}", pod["metadata"]["name"]) for number, pod in enumerate(pods, 1)
        ]
        body = {"addressType": self.family, "ports": [{"name": "tcp", "port": 8080}], "endpoints": endpoints}
        self._put("EndpointSlice", service["metadata"]["name"], body)

    def _network(self, number: int) -> str:
        return f"10.{number}.0." if self.family == "IPv4" else f"fd0{number}::"

    def _start_pod(self, service: str) -> Json:
        number = next(self._addresses)
        name, address = f"{service}-{number}", f"{self._network(0)}{number}"
        self._put("BackendPod", name, {"address": address})
        return _endpoint(address, name)

    def _pod(self, template: Json, image: str, is_well: bool) -> Json:
        status: Json = {"conditions": [{"type": "Ready", "status": str(is_well)}], "containerStatuses": []}
        if image in self.bad_images:
            waiting = {"reason": "ImagePullBackOff", "message": self.bad_images[image]}
            status["containerStatuses"] = [{"name": "haproxy", "state": {"waiting": waiting}}]
        if image not in self.bad_images:
            status["podIP"] = f"{self._network(1)}1"
        return {"metadata": copy.deepcopy(template["metadata"]), "spec": {"nodeName": "node-1"}, "status": status}


def _endpoint(address: str, pod: str) -> Json:
    return {"addresses": [address], "targetRef": {"kind": "Pod", "name": pod}}


def routes(**weights: float) -> list[Json]:
    """Routes to Services of these names (with `_` for `-`), on their port `http`."""
    return [
        {"backend": {"serviceName": name.replace("_", "-"), "servicePort": "http"}, "weight": weight}
        for name, weight in weights.items()
    ]


def rolled_back_digest(digest: str) -> str:
    """What an agent reports that has returned to the last good weights by itself."""
    return "0" * 12 + digest[12:]


def _keeps_rollback(report: Report, written: Written) -> bool:
    """Whether this configuration leaves a proxy at the last good weights: the operator has not decided yet."""
    found, applied = report.rolled_back, written.applied
    return bool(found and applied and found.revision == applied.revision and "# rollback " in written.latest)
