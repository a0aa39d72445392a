"""A cluster for `kanary plan`, in which the operator's reconciles run: it reads a real one, and writes to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from engine.adopting import check_owner
from engine.announce import Announcement
from engine.checks import Check, CheckOutcome, CheckResult, QueryCheck
from engine.conditions import RECORDED
from engine.fleet.proxy import Proxy
from engine.fleet.reports import Report
from engine.model.entries import Configuration, Entry
from engine.model.spec import KanarySpec
from engine.model.states import Endpoint, Written, read_written
from engine.model.status import KanaryStatus
from engine.ports import KanaryName, Recorded
from engine.render.adoption import adopter, given_back
from engine.render.objects import KANARY_LABEL, MANAGED_BY, MANAGER, Identity, owner_uid
from engine.resolve.slices import slices_from_endpoints
from kanary.kanaries import KANARIES
from kanary.kube.pods import addresses_of, is_ready
from kanary.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    PDBS,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Json,
    Key,
    Resource,
)
from kanary.operator.indexes import Target, targets_of_pod, targets_of_service
from kanary.operator.proxy_finder import ProxyFinder
from kanary.operator.transforms import SERVICE_OF_SLICE

ImaginedObjects = dict[tuple[Resource, str, str], Json | None]
"""By kind, namespace and name; None for what was deleted."""
_KINDS = {(each.api_version, each.kind): each for each in (CONFIG_MAPS, DEPLOYMENTS, PDBS, SERVICES)}
_RECORDED = 10**9
"""More entries than a Kanary has: their number is of no importance here."""


class ObjectSource(Protocol):
    """Reads the objects of a cluster; each call with the same arguments returns the same objects."""

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """The object, or None."""

    def list(self, resource: Resource, namespace: str, selector: str = "") -> Sequence[Json]:
        """The objects with these labels, such as `a=b`."""

    def serves(self, resource: Resource) -> bool:
        """Whether the cluster has this kind."""

    def reports(self, namespace: str, kanary: str) -> Mapping[str, Report]:
        """The reports of a Kanary's proxies that could be read, by pod."""


class NoCluster:
    """Implements `ObjectSource`: there is nothing."""

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:  # noqa: ARG002 -- as in the protocol
        """None."""
        return None

    def list(self, resource: Resource, namespace: str, selector: str = "") -> Sequence[Json]:  # noqa: ARG002 -- as above
        """Nothing."""
        return ()

    def serves(self, resource: Resource) -> bool:  # noqa: ARG002 -- as above
        """Every kind of a current Kubernetes."""
        return True

    def reports(self, namespace: str, kanary: str) -> Mapping[str, Report]:  # noqa: ARG002 -- as above
        """Nothing."""
        return {}


class ImaginedCluster:
    """Implements every port of the engine. Nothing that it is given reaches a cluster, a proxy or a webhook.

    Proxies do not change: what the operator would do after they have loaded a configuration does not happen.
    """

    def __init__(self, source: ObjectSource, now: datetime) -> None:
        self._source = source
        self._now = now
        self._written: ImaginedObjects = {}
        self._reports: dict[str, Report] = {}
        self.status: KanaryStatus | None = None
        """The last one that a reconcile has reported."""

    # What happens in it

    def put(self, resource: Resource, obj: Json) -> None:
        """Have the cluster contain this object."""
        self._written[resource, obj["metadata"]["namespace"], obj["metadata"]["name"]] = obj

    def remove(self, resource: Resource, obj: Json) -> None:
        """Have the cluster not contain this object."""
        self._written[resource, obj["metadata"]["namespace"], obj["metadata"]["name"]] = None

    def pass_time(self, passed: timedelta) -> None:
        """Let time pass."""
        self._now += passed

    def snapshot(self) -> ImaginedObjects:
        """What it contains now beside the objects of the source, for `changes`."""
        return dict(self._written)

    def changes(self, since: ImaginedObjects) -> Iterator[tuple[Json | None, Json | None]]:
        """The objects of the proxies that were written since then, each before and after."""
        for key, after in self._written.items():
            before = since[key] if key in since else self._source.get(*key)
            if key[0] in _KINDS.values() and after is not before:
                yield before, after

    # engine.ports.Clock

    def now(self) -> datetime:
        """The time."""
        return self._now

    # engine.ports.ClusterView

    def kanary(self, namespace: str, name: str) -> Json | None:
        """The Kanary, or None."""
        return self._get(KANARIES, namespace, name)

    def kanaries_for(self, namespace: str, destination: str) -> Sequence[Json]:
        """The Kanaries of the namespace with this destination."""
        found = self._list(KANARIES, namespace)
        return [each for each in found if (each.get("spec") or {}).get("destination") == destination]

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, or None."""
        return self._get(SERVICES, namespace, name)

    def owned_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services and ConfigMaps whose controller has this uid, and the Services that this Kanary has adopted."""
        found = [*self._list(SERVICES, namespace), *self._list(CONFIG_MAPS, namespace, f"{MANAGED_BY}={MANAGER}")]
        return [each for each in found if uid in (owner_uid(each), adopter(each))]

    def adopted_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services that this Kanary has adopted."""
        return [each for each in self._list(SERVICES, namespace) if adopter(each) == uid]

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        """The Service's EndpointSlices."""
        if self._source.serves(ENDPOINT_SLICES):
            return self._list(ENDPOINT_SLICES, namespace, f"{SERVICE_OF_SLICE}={service}")
        endpoints = self._get(ENDPOINTS, namespace, service)
        return slices_from_endpoints(endpoints) if endpoints else []

    def proxies_among(self, namespace: str, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, frozenset[KanaryName]]:
        """The endpoints that lead to the proxies of a Kanary of the namespace."""
        pods = _by_target(targets_of_pod, self._list(PODS, namespace, f"{MANAGED_BY}={MANAGER}"))
        services = _by_target(targets_of_service, self._list(SERVICES, namespace))
        finder = ProxyFinder(
            lambda target: pods.get(target, ()), lambda target: services.get(target, ()), self.slices, lambda _key: True
        )
        return finder.among(namespace, endpoints)

    def is_stale(self, kanary: Json) -> bool:  # noqa: ARG002 -- nothing is a copy
        """It is read from the API server."""
        return False

    def live(self, desired: Json) -> Json | None:
        """The object of the same kind, namespace and name, or None."""
        metadata = desired["metadata"]
        return self._get(_KINDS[desired["apiVersion"], desired["kind"]], metadata["namespace"], metadata["name"])

    def proxy_pods(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The HAProxy pods of a Kanary."""
        return self._list(PODS, namespace, f"{KANARY_LABEL}={kanary}")

    def pod_templates(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The pod templates of a Kanary's ReplicaSets with desired pods."""
        found = self._list(REPLICA_SETS, namespace, f"{KANARY_LABEL}={kanary}")
        return [each["spec"]["template"] for each in found if each["spec"].get("replicas")]

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The reports of these pods. One that cannot be read is assumed to serve what is written at first."""
        for pod in pods:
            metadata = pod["metadata"]
            name, kanary = metadata["name"], (metadata["namespace"], metadata["labels"].get(KANARY_LABEL, ""))
            if name not in self._reports:
                applied = read_written(self._get(CONFIG_MAPS, kanary[0], f"{kanary[1]}-haproxy")).applied
                assumed = Report(applied.digest if applied and is_ready(pod) else "")
                self._reports[name] = self._source.reports(*kanary).get(name, assumed)
        return {pod["metadata"]["name"]: self._reports[pod["metadata"]["name"]] for pod in pods}

    def pod_addresses(self, namespace: str, names: frozenset[str]) -> Mapping[str, frozenset[str]]:
        """The addresses of those of these pods that have not ended."""
        pods = {pod["metadata"]["name"]: pod for pod in self._list(PODS, namespace)}
        return {name: addresses_of(pods[name]) for name in names & pods.keys()}

    def public_key(self) -> str:
        """Empty: only the operator has the key. Objects that contain one keep it."""
        return ""

    # engine.ports.ClusterWriter

    def apply(self, desired: Json) -> None:
        """Have the cluster contain this object. Raises RejectedError and RetryLaterError if it has another owner."""
        live = self.live(desired)
        if live and adopter(desired):
            parts = ("labels", "annotations")
            ours = {part: {**(live["metadata"].get(part) or {}), **desired["metadata"][part]} for part in parts}
            metadata = {**live["metadata"], **ours, "ownerReferences": []}
            self.put(SERVICES, {**live, "metadata": metadata, "spec": {**live["spec"], **desired["spec"]}})
            return
        if live:
            check_owner(live, desired)
        known = (live or {}).get("metadata") or {}
        kept = {key: known[key] for key in ("uid", "generation", "creationTimestamp") if key in known}
        metadata = {**desired["metadata"], **kept}
        status = {"status": live["status"]} if live and "status" in live else {}
        self.put(_KINDS[desired["apiVersion"], desired["kind"]], {**desired, "metadata": metadata, **status})

    def delete(self, existing: Json) -> None:
        """Have the cluster not contain this object."""
        self.remove(_KINDS[existing["apiVersion"], existing["kind"]], existing)

    def give_back(self, adopted: Json) -> None:
        """Have a Service be what it was."""
        self.put(SERVICES, given_back(adopted))

    def set_finalizer(self, kanary: Json, finalizer: str, *, is_present: bool) -> Json:
        """Have the Kanary have it, or not."""
        others = [each for each in kanary["metadata"].get("finalizers") or () if each != finalizer]
        metadata = {**kanary["metadata"], "finalizers": [*others, finalizer] if is_present else others}
        self.put(KANARIES, {**kanary, "metadata": metadata})
        return {**kanary, "metadata": metadata}

    def send(self, proxies: Sequence[Proxy], owner: Identity, written: Written) -> None:
        """Send nothing."""

    def forget(self, namespace: str, name: str) -> None:
        """Nothing is kept."""

    def write_status(self, kanary: Json, status: Json) -> Json:
        """Have the Kanary have this status."""
        written = {**kanary, "status": status}
        self.put(KANARIES, written)
        return written

    # engine.ports.History

    def recorded(self, uid: str) -> Recorded:  # noqa: ARG002 -- all Kanaries alike
        """Everything is."""
        return Recorded(_RECORDED, RECORDED)

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Record nothing."""

    def store(self, kanary: Json, entries: Sequence[Entry]) -> None:
        """Record nothing."""

    def deleted(self, namespace: str, name: str) -> None:
        """Record nothing."""

    # engine.ports.Reporter

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """Report nothing."""

    def announce(self, kanary: Json, announcement: Announcement) -> None:
        """Report nothing."""

    def observed(
        self,
        kanary: Json,  # noqa: ARG002 -- one Kanary is reconciled
        status: KanaryStatus,
        spec: KanarySpec | None,  # noqa: ARG002 -- as above
        *,
        is_stored: bool,  # noqa: ARG002 -- as above
    ) -> None:
        """Keep the status, which may not be written yet."""
        self.status = status

    def gone(self, namespace: str, name: str) -> None:
        """Report nothing."""

    # engine.ports.Checks

    def results(
        self,
        namespace: str,  # noqa: ARG002 -- as in the protocol
        name: str,  # noqa: ARG002 -- as above
        needed: Sequence[Check],
        *,
        are_all: bool = True,  # noqa: ARG002 -- as above
    ) -> Mapping[str, CheckResult]:
        """Webhooks agree, without being called; queries have no answer yet."""
        outcomes: dict[bool, CheckOutcome] = {True: CheckOutcome.PENDING, False: CheckOutcome.PASSED}
        return {check.id: CheckResult(outcomes[isinstance(check, QueryCheck)]) for check in needed}

    def _get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        key = resource, namespace, name
        return self._written[key] if key in self._written else self._source.get(*key)

    def _list(self, resource: Resource, namespace: str, selector: str = "") -> list[Json]:
        found = {Key.of(each): each for each in self._source.list(resource, namespace, selector)}
        name, _, value = selector.partition("=")
        for (kind, of_namespace, _), obj in self._written.items():
            if (kind, of_namespace) != (resource, namespace):
                continue
            if obj and (not selector or (obj["metadata"].get("labels") or {}).get(name) == value):
                found[Key.of(obj)] = obj
        for (kind, of_namespace, of_name), obj in self._written.items():
            if obj is None and kind == resource:
                found.pop(Key(of_namespace, of_name), None)
        return [*found.values()]


def _by_target(targets_of: Callable[[Json], Iterator[Target]], objects: Iterable[Json]) -> Mapping[Target, list[Json]]:
    found: dict[Target, list[Json]] = {}
    for each in objects:
        for target in targets_of(each):
            found.setdefault(target, []).append(each)
    return found
