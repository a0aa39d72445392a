"""Observes one Kanary, once per reconcile: the declared spec, the written configuration, the reports of the proxies."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from engine.destination import Destination, observe_destination
from engine.fleet.fleet import Fleet
from engine.fleet.proxy import has_agent, read_proxy
from engine.fleet.sent import Sent
from engine.last_status import last_rejection, read_phase, read_status
from engine.memo import Memo
from engine.model.placement import BUILT_IN, ProxyDefaults
from engine.model.spec import Backend, KanarySpec, ProxySettings, Route
from engine.model.states import Applied, Endpoints, Intent, Written, applied_in, read_written, unpaused
from engine.model.status import KanaryStatus
from engine.model.times import read_time
from engine.ports import ClusterView, Json, RetryLaterError
from engine.render.objects import Identity, generation_of, owner_uid
from engine.render.sysctls import ALL_SYSCTLS
from engine.resolve.endpoints import Resolved
from engine.resolve.intent import Found, former_port_problems, read_intent, resolve_backend
from states import Problem, Reason, RouteFacts, Snapshot

_AWAITED = (Reason.BACKEND_NOT_FOUND, Reason.DESTINATION_RELEASING)
"""Problems that end without a change of the Kanary, such as objects that are applied later."""
_CONTESTED = (Reason.DESTINATION_EXISTS, Reason.DESTINATION_NOT_ADOPTABLE)
"""Problems with the destination alone: the proxies can run."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator's settings and the cluster decide for all Kanaries."""

    proxy_image: str
    """If the spec names none."""
    disruption_budgets: bool = True
    """Whether the cluster has policy/v1."""
    sysctls: Mapping[str, str] = field(default_factory=lambda: ALL_SYSCTLS)
    """The kernel parameters of the proxies' pods."""
    proxies: ProxyDefaults = BUILT_IN
    """What a Kanary may leave out."""

    @property
    def text(self) -> str:
        """What a Kanary may leave out, as JSON; empty if the operator's settings do not say."""
        is_set = self.proxies != BUILT_IN
        return self.proxies.model_dump_json(by_alias=True, exclude_none=True) if is_set else ""

    def settings_of(self, spec: KanarySpec) -> ProxySettings:
        """The settings of the proxies, with what the spec leaves out."""
        return spec.proxy.over(self.proxies)


@dataclass(frozen=True, slots=True)
class Observed:
    """One Kanary as observed at the moment `now`."""

    owner: Identity
    kanary: Json
    stored: KanaryStatus
    """The status in the cluster."""
    status: KanaryStatus
    """The status after the last reconcile, which may not be written yet."""
    now: datetime
    defaults: Defaults
    intent: Intent
    written: Written
    fleet: Fleet
    destinations: Mapping[str, Destination]
    """By name: the destinations of the declared spec and of the last good one."""
    backends: Mapping[Backend, Resolved | Problem]
    """Of both specs, as the cluster has them now."""
    memo: Memo = field(repr=False, compare=False)

    @property
    def to_apply(self) -> KanarySpec | None:
        """The declared spec without `paused`: the last good one itself if they are equal."""
        spec, applied = self.intent.spec, self.written.applied
        if spec is None:
            return None
        declared = self.memo(unpaused, spec)
        # An equal spec of an earlier reconcile would be another object.
        return applied.spec if applied and self.memo(_are_equal, declared, applied.spec) else declared

    @property
    def last_entry(self) -> int:
        """Number of the last entry, or an upper bound if the status was deleted."""
        return self._last_entry_of(self.status)

    @property
    def stored_entry(self) -> int:
        """The same, of the status in the cluster: the history has no later entry."""
        return self._last_entry_of(self.stored)

    def _last_entry_of(self, status: KanaryStatus) -> int:
        known, applied = status.history, self.written.applied
        last = max([known.last, *(entry.number for entry in known.entries)]) if known else 0
        if applied is None or (known and last >= applied.entry):
            return last
        # The status was deleted or replaced by an older one, perhaps more than once: no Kanary writes an entry each
        # millisecond.
        created = read_time(self.kanary["metadata"].get("creationTimestamp")) or self.now
        return max(last, applied.entry, (self.now - created) // timedelta(milliseconds=1))

    @property
    def may_reach_proxies(self) -> bool:
        """Whether connections may reach proxies of other Kanaries, which may lead back at any time."""
        return any(isinstance(found, Resolved) and found.may_reach_proxies for found in self.backends.values())

    @property
    def present_endpoints(self) -> Endpoints:
        """Of each backend of the declared and the written spec; of an unknown one, those that were written last."""
        applied = self.written.applied
        return {
            backend: found.endpoints
            if isinstance(found, Resolved) and not self.is_unknown(backend)
            else (applied.endpoints_of(backend) if applied else ())
            for backend, found in self.backends.items()
        }

    def is_unknown(self, backend: Backend) -> bool:
        """Whether the endpoints of a backend are unknown, and proxies connect to the last known ones."""
        found, applied = self.backends.get(backend), self.written.applied
        return isinstance(found, Resolved) and not found.is_known and bool(applied and applied.endpoints_of(backend))

    def is_reached_by_ipv6(self, destination: str) -> bool:
        """Whether kubelets or clients of the destination Service connect to the proxies over IPv6.

        The endpoints of the backends are no evidence: a manual one may have an IPv6 address in a cluster without IPv6.
        """
        known = self.destinations.get(destination)
        service = ((known.service if known else None) or {}).get("spec") or {}
        addresses = [*self.fleet.addresses, service.get("clusterIP") or "", *(service.get("clusterIPs") or ())]
        return any(":" in address for address in addresses)

    def routes(self, routes: Iterable[Route], endpoints: Endpoints) -> tuple[RouteFacts, ...]:
        """The routes, each with the counts of its endpoints."""
        return tuple(
            _facts(route, len(endpoints.get(route.backend, ())), self.backends.get(route.backend)) for route in routes
        )


def observe(
    view: ClusterView,
    kanary: Json,
    now: datetime,
    defaults: Defaults,
    *,
    memo: Memo,
    last: Callable[[], Written | None] = lambda: None,
    sent: Mapping[str, Sent] | None = None,
    read: Callable[[Json], KanaryStatus] = read_status,
    latest: Callable[[KanaryStatus], KanaryStatus] = lambda stored: stored,
) -> Observed:
    """Observe a Kanary. Raises RetryLaterError if the view is older than what was written.

    `read` replaces `read_status`; `latest` returns the status after the last reconcile, given the one in the cluster.
    `sent` is what this process is sending to its proxies, by the uid of the pod.
    `last` returns what this process last saw in the ConfigMap. It replaces a ConfigMap that was deleted or damaged.
    """
    owner = memo(owner_of, kanary)
    # First: if it is too early to judge the proxies, nothing else is derived in vain.
    fleet = _fleet(view, owner, now, memo, sent or {})
    (intent, declared), status = read_intent(view, owner, kanary, memo), read(kanary)
    written = read_written(_own(view, owner, "v1", "ConfigMap"), lambda found: _applied(found, intent, declared, memo))
    if written.applied is None and (known := last()) and _is_latest(known, intent, status, fleet):
        written = replace(known, version=written.version)
    if (key := _public_key(view, written)) != written.public_key:
        written = replace(written, public_key=key, content_id=None)
    applied = written.applied
    generation = max(applied.generation if applied else 0, generation_of(fleet.deployment))
    if intent.generation < generation:
        if view.is_stale(kanary):
            raise RetryLaterError(
                f"generation {generation} was applied, and this copy of the Kanary is of {intent.generation}"
            )
        written = _of_generation(intent.generation, written)
        applied = written.applied
    if intent.spec and applied and (found := [*former_port_problems(view, owner, intent.spec, applied)]):
        intent = replace(intent, problems=(*intent.problems, *found))
    specs = [spec for spec in (intent.spec, applied.spec if applied else None) if spec]
    others = {route.backend for spec in specs for route in spec.all_routes} - declared.keys()
    return Observed(
        owner=owner,
        kanary=kanary,
        stored=status,
        status=latest(status),
        now=now,
        defaults=defaults,
        intent=intent,
        written=written,
        fleet=fleet,
        destinations={spec.destination: observe_destination(view, owner, spec.destination, fleet) for spec in specs},
        backends={**declared, **{backend: resolve_backend(view, owner, backend, memo) for backend in others}},
        memo=memo,
    )


def _facts(route: Route, endpoints: int, found: Resolved | Problem | None) -> RouteFacts:
    now = found if isinstance(found, Resolved) else Resolved()
    return RouteFacts(str(route.backend), route.weight, endpoints, now.unready, now.are_terminating, now.note)


def _public_key(view: ClusterView, written: Written) -> str:
    """The key for the proxies. While it cannot be read, those that have one keep it. Raises RetryLaterError."""
    try:
        return view.public_key() or written.public_key
    except RetryLaterError:
        if written.public_key:
            return written.public_key
        raise


def _applied(config_map: Mapping[str, Any], intent: Intent, declared: Found, memo: Memo) -> Applied | None:
    """The state that a ConfigMap stores. What is equal to the declared state is the same object, for less memory."""
    applied = memo(applied_in, config_map)
    if applied is None:
        return None
    spec = intent.spec if intent.spec == applied.spec else applied.spec
    present = {str(backend): found.endpoints for backend, found in declared.items() if isinstance(found, Resolved)}
    known = applied.endpoints
    endpoints = {name: present[name] if present.get(name) == known[name] else known[name] for name in known}
    if spec is not applied.spec or any(endpoints[name] is not known[name] for name in known):
        applied = applied.model_copy(update={"spec": spec, "endpoints": endpoints})
        memo.keep(applied, applied_in, config_map)
    return applied


def _are_equal(one: KanarySpec, other: KanarySpec) -> bool:
    return one == other


def owner_of(kanary: Json) -> Identity:
    """The Kanary as the owner of its objects."""
    metadata = kanary["metadata"]
    return Identity(metadata["namespace"], metadata["name"], metadata["uid"])


def _is_latest(last: Written, intent: Intent, status: KanaryStatus, fleet: Fleet) -> bool:
    """Whether no other process has written since, as far as the other objects say.

    A Kanary of an older generation comes from a backup of the cluster, and generations after it are void.
    """
    applied = last.applied
    return (
        applied is not None
        and applied.revision >= status.revision
        and intent.generation >= applied.generation >= generation_of(fleet.deployment)
    )


def _of_generation(latest: int, written: Written) -> Written:
    """Someone has written a generation that the Kanary has not reached: it would never be reconciled again."""
    if written.applied is None:
        return written
    applied = written.applied.model_copy(update={"generation": min(latest, written.applied.generation)})
    return replace(written, applied=applied, content_id=None)


def _fleet(view: ClusterView, owner: Identity, now: datetime, memo: Memo, sent: Mapping[str, Sent]) -> Fleet:
    pods = view.proxy_pods(owner.namespace, owner.name)
    # Stopping pods as well: they split connections by the configuration of their last report as long as they listen.
    live = [pod for pod in pods if has_agent(pod)]
    reports = view.reports(live) if live else {}
    return Fleet(
        deployment=_own(view, owner, "apps/v1", "Deployment"),
        proxies=tuple(
            memo(read_proxy, pod, reports.get(pod["metadata"]["name"]), sent.get(pod["metadata"]["uid"]))
            for pod in pods
        ),
        now=now,
    )


def _own(view: ClusterView, owner: Identity, api_version: str, kind: str) -> Json | None:
    """The object of this Kanary, not one that a deleted Kanary of the same name has left."""
    metadata = {"namespace": owner.namespace, "name": owner.proxy_name}
    found = view.live({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    return found if found and owner_uid(found) == owner.uid else None


def declared_snapshot(observed: Observed) -> Snapshot:
    """The facts that decide which spec is in force. The state of the proxies depends on it and follows later."""
    status, intent, applied, spec = observed.status, observed.intent, observed.written.applied, observed.intent.spec
    problems = intent.problems
    # A former destination stays in service until the new one is.
    moves = applied is not None and spec is not None and applied.spec.destination != spec.destination
    contested = None if moves else next((problem for problem in problems if problem.reason in _CONTESTED), None)
    of_spec: dict[str, Any] = {}
    if spec:
        of_spec = {
            "routes": observed.routes(spec.all_routes, intent.endpoints),
            "on_empty_route": spec.on_empty_route,
            "paused": spec.paused,
            "is_change": applied is None or observed.to_apply is not applied.spec,
            "progress_deadline": timedelta(seconds=spec.progress_deadline_seconds),
        }
    return Snapshot(
        phase=read_phase(status),
        now=observed.now,
        since=_passed(status.since, observed.now),
        waits_for_endpoints=status.reason == Reason.WAITING_FOR_ENDPOINTS,
        reports_unreached=status.reason == Reason.ROUTE_UNREACHABLE,
        fault=next(
            (problem for problem in problems if problem.reason not in _AWAITED and problem is not contested), None
        ),
        contested=contested,
        missing=next((problem for problem in problems if problem.reason in _AWAITED), None) or _unknown(observed),
        rejection=last_rejection(status),
        has_served=applied is not None,
        lost=_lost(observed),
        spec_changed=intent.generation != status.observed_generation,
        progressing_since=_passed(status.progressing_since, observed.now),
        **of_spec,
    )


def _unknown(observed: Observed) -> Problem | None:
    """A backend whose endpoints are unknown while proxies connect to the last known ones.

    Without such endpoints there is nothing to hold, and the route is empty.
    """
    spec = observed.intent.spec
    for index, route in enumerate(spec.routes if spec else ()):
        if observed.is_unknown(route.backend):
            where = f"spec.routes[{index}].backend.serviceName"
            return Problem(
                Reason.ENDPOINTS_UNKNOWN,
                f'{where}: Service "{route.backend.service_name}" has no EndpointSlice of its present version: '
                "its last endpoints stay in service until it has one; create one if the Service has no selector",
            )
    return None


def _lost(observed: Observed) -> str:
    if observed.written.applied or observed.fleet.deployment is None:
        return ""
    return (
        f"ConfigMap {observed.owner.proxy_name} was deleted or changed while no operator ran, and cannot be restored "
        "until the spec can be applied: running proxies continue, but new ones may have no configuration"
    )


def _passed(time: datetime | None, now: datetime) -> datetime | None:
    """A time in a status; a time in the future, from a clock that is ahead, counts as now."""
    return min(time, now) if time else None
