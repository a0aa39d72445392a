"""All proxies of one Kanary, and their progress with a configuration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from engine.fleet.proxy import Proxy
from engine.fleet.refused import with_way_out
from engine.fleet.sent import Sent, send
from engine.model.states import Applied
from engine.model.times import time_text
from engine.render.haproxy import split_of
from states import Progress
from states.evidence import Counts
from states.texts import harmless
from states.timing import (
    EXHAUSTION_REPORTED,
    LOAD_LIMIT,
    SETTLE_LIMIT,
    SETTLING_RECHECK,
    SPACING_LIMIT,
    SPACING_PER_PROCESS,
    left,
)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """The desired state of the proxies."""

    digest: str
    template: str
    replicas: int
    ready_endpoints: int
    """Number of ready endpoints of the destination Service."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The proxies as observed at the moment `now`."""

    deployment: Json | None
    proxies: tuple[Proxy, ...]
    now: datetime
    _serving: dict[str, list[Proxy]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By digest: a reconcile counts them ten times."""

    def progress(self, goal: Goal) -> Progress:
        """Their progress with the goal."""
        takers = self.serving(goal.digest)
        if not self.all_split_by(goal.digest):
            return Progress.BEHIND
        fit = [proxy for proxy in takers if proxy.template == goal.template]
        if min(len(fit), goal.ready_endpoints) < goal.replicas:
            return Progress.ADOPTED
        is_left = any(proxy.serves != goal.digest and self._listens(proxy) for proxy in self.proxies)
        is_current = has_rolled_out(self.deployment, goal.replicas) and not is_left
        return Progress.CURRENT if is_current else Progress.SERVING

    def serving(self, digest: str) -> Sequence[Proxy]:
        """The proxies that accept connections, are not stopping, and split connections as this configuration does."""
        found = self._serving.get(digest)
        if found is None:
            found = [p for p in self.proxies if p.is_ready and p.is_to_run and _splits_alike(p, digest)]
            self._serving[digest] = found
        return found

    def all_split_by(self, digest: str) -> bool:
        """Whether every proxy that accepts connections splits them as this configuration does, and one does."""
        return bool(self.serving(digest)) and not self._others(digest)

    def ledgers(self, revision: int) -> Mapping[str, Mapping[str, Counts]]:
        """What each proxy has counted for this revision of the weights, by ledger and backend."""
        reports = [proxy.report for proxy in self.proxies if proxy.report]
        return {report.ledger: report.revisions[revision] for report in reports if revision in report.revisions}

    def _others(self, digest: str) -> list[Proxy]:
        """The proxies that accept connections and split them differently."""
        return [p for p in self.proxies if self._listens(p) and not _splits_alike(p, digest)]

    def _listens(self, proxy: Proxy) -> bool:
        return proxy.listens_for(self.now) != timedelta()

    def ready(self, digest: str) -> int:
        """Number of proxies that are ready and split connections as this configuration does."""
        return len(self.serving(digest))

    def updated(self, digest: str) -> int:
        """Number of those that serve exactly this configuration."""
        return sum(proxy.serves == digest for proxy in self.serving(digest))

    def others_listen_for(self, digest: str) -> timedelta | None:
        """How much longer replaced proxies with a different split accept connections; None if there are none."""
        replaced = [p for p in self._others(digest) if not (p.is_live and p.is_to_run)]
        # A proxy that is not stopping yet is checked again soon.
        waits = [p.listens_for(self.now) or SETTLING_RECHECK for p in replaced]
        return max(waits, default=None)

    def waiting_for(self, digest: str) -> str:
        """The first proxy that does not serve this configuration yet, with its node."""
        takers = self.serving(digest)
        behind = [p for p in self.proxies if p.is_to_run and p not in takers]
        return _place(behind[0]) if behind else ""

    @property
    def mounted(self) -> set[str]:
        """Digests of the configurations that pods of Rolling mount; pods that have ended are left out."""
        return {proxy.serves for proxy in self.proxies if not proxy.is_live and not proxy.has_ended}

    def has_all(self, slices: Sequence[Json]) -> bool:
        """Whether the ready endpoints in these slices are proxies. Deleted pods stay in them for a moment, unready."""
        names = {proxy.name for proxy in self.proxies}
        return all((endpoint.get("targetRef") or {}).get("name") in names for _, endpoint in _ready(slices))

    @property
    def addresses(self) -> list[str]:
        """Of their pods."""
        return [proxy.address for proxy in self.proxies]

    # What is wrong

    def trouble(self, digest: str) -> str:
        """What keeps a proxy from becoming ready with this configuration, or from loading it; empty if nothing."""
        for condition in ((self.deployment or {}).get("status") or {}).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                text = f"{condition.get('reason', 'ReplicaFailure')}: {condition.get('message', '')}"
                return with_way_out(harmless(text.strip(": ")))
        expected = [p for p in self.proxies if p.is_to_run and (p.is_live or p.serves == digest)]
        texts = [p.trouble for p in expected if not p.is_ready and p.trouble]
        reports = [(p.name, p.report) for p in expected if p.report and p.serves != digest]
        texts += [f"pod {name}: {report.problem}" for name, report in reports if report.problem]
        texts += [_late_text(p) for p in self._missed(digest)]
        return texts[0] if texts else ""

    def rejection(self, goal: Goal) -> str:
        """The message of HAProxy, if a proxy that is to stay reports that it rejects this configuration.

        A proxy with another template is about to be replaced, perhaps by one whose image accepts the configuration.
        """
        rejections = sorted(
            (proxy.name, proxy.report.rejection)
            for proxy in self.proxies
            if proxy.is_to_run and proxy.template == goal.template and _rejects(proxy, goal.digest)
            if proxy.report and proxy.serves != goal.digest
        )
        return next((f"HAProxy of pod {name} rejects the configuration: {text}" for name, text in rejections), "")

    def exhaustion(self, digest: str, max_connections: int | None) -> str:
        """The exhausted resource of a proxy, and how to raise it; empty if nothing."""
        for proxy in self.proxies:
            if proxy.out_of_memory:
                container, at = proxy.out_of_memory
                if left(EXHAUSTION_REPORTED, at, self.now):
                    return (
                        f"pod {proxy.name}: container {container} was OOMKilled at {time_text(at)}; its connections "
                        "were dropped: raise spec.proxy.resources.limits.memory"
                    )
        return self._short_of_connections(digest, max_connections or 0)

    def _short_of_connections(self, digest: str, requested: int) -> str:
        for proxy in sorted(self.proxies, key=lambda proxy: proxy.name):
            report = proxy.report
            if report is None or not _splits_alike(proxy, digest) or not report.max_connections:
                continue
            if report.max_connections < requested:
                return (
                    f"pod {proxy.name} can hold {report.max_connections} connections of the {requested} of "
                    "spec.proxy.maxConnections, because of the file limit of its container: raise that limit on the "
                    "node, or lower spec.proxy.maxConnections and raise spec.proxy.replicas"
                )
            if report.is_full:
                return (
                    f"pod {proxy.name} is full with {report.max_connections} connections, and new ones wait: raise "
                    "spec.proxy.maxConnections, if the file limit of its container allows that, or "
                    "spec.proxy.replicas"
                )
            if report.short_of_ports:
                return (
                    f"pod {proxy.name} has no free source ports for connections to {report.short_of_ports}, and new "
                    "ones wait, because a connection that its client ends first keeps its port for 60 s: raise "
                    "spec.proxy.replicas, or add pods to the route"
                )
        return ""

    # Proxies that load configurations while they run

    def awaited(self, digest: str) -> list[Proxy]:
        """The ready proxies with an agent that do not serve this configuration."""
        return [p for p in self.proxies if p.has_reachable_agent and p.is_ready and p.serves != digest]

    def _missed(self, digest: str) -> list[Proxy]:
        """The proxies that have not loaded it within the limit.

        Proxies whose HAProxy rejects the configuration are left out: their replacements would reject it too.
        """
        return [
            p
            for p in sorted(self.awaited(digest), key=lambda proxy: proxy.name)
            if not _rejects(p, digest) and self._is_late(p, digest, LOAD_LIMIT)
        ]

    def _is_late(self, proxy: Proxy, digest: str, limit: timedelta) -> bool:
        sent = proxy.sent
        remaining = sent.left(limit, digest, self.now, is_ready=proxy.is_ready) if sent else None
        return remaining is not None and not remaining

    def fallback(self, applied: Applied) -> str:
        """Why the proxies have to be replaced; empty if they need not be.

        If one of them has loaded the configuration, the fault is with the others, such as a lost node. Replacing all
        proxies would also replace those that serve.
        """
        if any(proxy.serves == applied.digest for proxy in self.proxies if proxy.is_live and proxy.is_to_run):
            return ""
        # A proxy that is about to start may load it; one that never starts is no reason to wait for ever.
        limit = LOAD_LIMIT if has_rolled_out(self.deployment, applied.spec.proxy.replicas) else SETTLE_LIMIT
        late = [proxy for proxy in self._missed(applied.digest) if self._is_late(proxy, applied.digest, limit)]
        if not late:
            return ""
        silent = [proxy for proxy in late if proxy.report is None]
        return f"{_late_text((silent or late)[0])} (spec.updateStrategy: Live)"

    def _to_load(self, digest: str) -> list[Proxy]:
        """The proxies with an agent that may still load this configuration."""
        found = [p for p in self.proxies if p.has_reachable_agent and p.serves != digest]
        return [p for p in found if not _rejects(p, digest)]

    def sending(self, digest: str) -> dict[str, Sent]:
        """The configuration that each of these proxies must receive, by the uid of its pod."""
        return {p.uid: self._sent(p, digest) for p in self._to_load(digest)}

    def _sent(self, proxy: Proxy, digest: str) -> Sent:
        return send(proxy.sent, digest, self.now, proxy.serves, is_ready=proxy.is_ready)

    def unsent(self, digest: str) -> list[Proxy]:
        """The proxies to which this process has not begun to send this configuration."""
        return [p for p in self._to_load(digest) if p.sent is None or p.sent.digest != digest]

    def next_limit(self, digest: str | None) -> timedelta | None:
        """When the next time limit about a proxy has passed; None if there is none.

        `digest` is the configuration that running proxies are to load, if any.
        """
        awaited = self._to_load(digest) if digest else []
        limits = [
            self._sent(p, digest or "").left(limit, digest or "", self.now, is_ready=p.is_ready)
            for p in awaited
            for limit in (LOAD_LIMIT, SETTLE_LIMIT)
        ]
        limits += [left(EXHAUSTION_REPORTED, p.out_of_memory[1], self.now) for p in self.proxies if p.out_of_memory]
        return min((limit for limit in limits if limit), default=None)

    def reload_spacing(self, written_at: datetime) -> timedelta | None:
        """How much longer the next reload waits, by the number of processes that the proxies still drain."""
        draining = max((proxy.report.draining for proxy in self.proxies if proxy.report), default=0)
        return left(min(draining * SPACING_PER_PROCESS, SPACING_LIMIT), written_at, self.now) or None


def _splits_alike(proxy: Proxy, digest: str) -> bool:
    return bool(proxy.serves) and split_of(proxy.serves) == split_of(digest)


def _rejects(proxy: Proxy, digest: str) -> bool:
    return proxy.report is not None and proxy.report.rejected_digest == digest


def _place(proxy: Proxy) -> str:
    return f"pod {proxy.name}" + (f" on node {proxy.node}" if proxy.node else "")


def _late_text(proxy: Proxy) -> str:
    limit = f"within {LOAD_LIMIT.total_seconds():.0f} s"
    how = "did not answer the operator" if proxy.report is None else "did not load the configuration"
    return f"{_place(proxy)} {how} {limit}"


def is_observed(deployment: Json | None) -> bool:
    """Whether the Deployment's controller has observed its spec, and starts no more pods of a previous template."""
    observed = ((deployment or {}).get("status") or {}).get("observedGeneration", 0)
    generation = ((deployment or {}).get("metadata") or {}).get("generation", 0)
    return deployment is not None and observed >= generation


def has_rolled_out(deployment: Json | None, replicas: int) -> bool:
    """Whether the Deployment's controller has observed its spec and only pods of the current template remain."""
    if not deployment:
        return False
    status = deployment.get("status") or {}
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return is_observed(deployment) and counts == {replicas}


def ready_endpoints(slices: Sequence[Json]) -> int:
    """Number of ready endpoints in the slices of a Service; with two address families, a pod is in slices of both."""
    found: dict[str, set[str]] = {}
    for family, endpoint in _ready(slices):
        found.setdefault(family, set()).update(endpoint.get("addresses") or ())
    return max(map(len, found.values()), default=0)


def _ready(slices: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """The ready endpoints, each with its address family."""
    for piece in slices:
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield piece.get("addressType", ""), endpoint
