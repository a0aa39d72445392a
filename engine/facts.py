"""Gathers from the view of the cluster what decides about one Kanary: first what is declared, then how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from engine import reports, rollout
from engine.model.api import KanarySpec, KanaryStatus, weights_text
from engine.model.times import read_time
from engine.ports import ClusterView, Json
from engine.progress import Proxies, observe, rollout_of, strategy_for
from engine.record import Record, read_record, read_texts
from engine.render.objects import Identity
from engine.resolve.declared import Declared, read_declared, resolve_route, route_facts
from engine.resolve.endpoints import Endpoint
from engine.status import read_phase, read_status
from engine.target import Defaults, Target, next_revision, render
from states import (
    OnEmptyRoute,
    Problem,
    Reason,
    RouteFacts,
    Snapshot,
    Source,
    which_spec,
)

_REFUSALS = (Reason.REFUSED_BY_CLUSTER, Reason.OBJECT_EXISTS)


@dataclass(frozen=True, slots=True)
class Facts:
    """One Kanary as observed: the snapshot for the rules, and what the actions work on."""

    owner: Identity
    kanary: Json
    status: KanaryStatus
    snapshot: Snapshot
    target: Target | None
    record: Record | None
    routes: tuple[RouteFacts, ...]
    """The routes of the target."""
    proxies: Proxies
    stale: tuple[Json, ...]
    """Services and ConfigMaps of ours that nobody has a use for any more, as far as pods tell."""
    refreshes: tuple[tuple[Json, dict[str, str]], ...]
    """Pods of proxies, and the annotations to set on them."""
    holds_endpoints: bool
    """Pods are served that no Service names; they have to be looked at again."""

    @property
    def config(self) -> str:
        """The text of the target's configuration, or nothing."""
        return self.target.config if self.target else ""


def gather(view: ClusterView, kanary: Json, now: datetime, defaults: Defaults) -> Facts:
    """All that is known of a Kanary. Raises RetryLaterError where the cluster has to be asked and does not answer."""
    metadata = kanary["metadata"]
    owner = Identity(metadata["namespace"], metadata["name"], metadata["uid"])
    status = read_status(kanary)
    config_map = view.live(_named(owner))
    record = read_record(config_map)
    declared = read_declared(view, owner, kanary)
    snapshot = _declared_snapshot(kanary, status, record, declared, now)
    spec, endpoints, holds = _source(view, owner, snapshot, declared, record)
    proxies = observe(view, owner, now)
    if spec is None:
        return Facts(owner, kanary, status, snapshot, None, record, (), proxies, (), (), holds)
    told = tuple((weight.backend, weight.weight) for weight in status.weights)
    revision = next_revision(record, spec, status.revision, told)
    strategy, unreported = strategy_for(spec, record, proxies)
    target = render(
        owner,
        spec,
        endpoints,
        last=record,
        revision=revision,
        now=now,
        strategy=strategy,
        defaults=defaults,
        texts=read_texts(config_map),
        is_accepted=record is not None and proxies.ready(record.digest) > 0,
        ipv6=rollout.is_reached_by_ipv6(proxies.found, view.service(owner.namespace, spec.destination)),
    )
    rolled = rollout_of(view, owner, target, proxies, last=record, unreported=unreported)
    stale = _stale(view, owner, target, record, proxies, is_complete=rolled.is_complete)
    snapshot = replace(
        snapshot,
        revision=revision,
        is_new_revision=record is None or record.revision != revision,
        weights=weights_text(spec.weights),
        rollout=rolled,
        stale=tuple(f"{obj['kind']} {obj['metadata']['name']}" for obj in stale),
    )
    refreshes = reports.refreshes(proxies.found, proxies.reports, target.record.digest, now)
    routes = route_facts(spec, endpoints)
    return Facts(owner, kanary, status, snapshot, target, record, routes, proxies, stale, refreshes, holds)


def _named(owner: Identity) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": owner.namespace, "name": owner.proxy_name},
    }


def _declared_snapshot(
    kanary: Json, status: KanaryStatus, record: Record | None, declared: Declared, now: datetime
) -> Snapshot:
    refused = next((refusal for refusal in _REFUSALS if refusal.value == status.reason), None)
    snapshot = Snapshot(
        phase=read_phase(status),
        now=now,
        fault=declared.fault,
        missing=declared.missing,
        refusal=Problem(refused, status.message) if refused else None,
        routes=declared.routes,
        has_served=record is not None,
        spec_changed=kanary["metadata"].get("generation", 0) != status.observed_generation,
        backends_since=declared.backends_since,
        progressing_since=read_time(status.progressing_since),
    )
    spec = declared.spec
    if spec is None:
        return snapshot
    return replace(
        snapshot,
        on_empty_route=spec.on_empty_route,
        paused=spec.paused,
        is_change=record is None or record.spec != _unpaused(spec),
        progress_deadline=timedelta(seconds=spec.progress_deadline_seconds),
    )


def _unpaused(spec: KanarySpec) -> KanarySpec:
    return spec.model_copy(update={"paused": False})


def _source(
    view: ClusterView, owner: Identity, snapshot: Snapshot, declared: Declared, record: Record | None
) -> tuple[KanarySpec | None, tuple[tuple[Endpoint, ...], ...], bool]:
    """The spec to serve, its endpoints, and whether any of them are held."""
    match which_spec(snapshot):
        case Source.DECLARED if declared.spec:
            return _unpaused(declared.spec), declared.endpoints, False
        case Source.LAST_GOOD if record:
            return record.spec, *_last_good_endpoints(view, owner, snapshot, record)
        case _:
            return None, (), False


def _last_good_endpoints(
    view: ClusterView, owner: Identity, snapshot: Snapshot, record: Record
) -> tuple[tuple[tuple[Endpoint, ...], ...], bool]:
    """The endpoints of the last good spec as they are now; where they cannot be known, those that its pods still have.

    An address alone is never held: its pod may be gone, and the address another's.
    """
    found = [resolve_route(view, owner, record.spec, index) for index in range(len(record.spec.routes))]
    holds_empty = OnEmptyRoute.HOLD in (snapshot.on_empty_route, record.spec.on_empty_route)
    held = [isinstance(endpoints, Problem) or (holds_empty and not endpoints) for endpoints in found]
    if not any(held):
        return tuple(endpoints for endpoints in found if not isinstance(endpoints, Problem)), False
    pods = view.pod_addresses(owner.namespace)
    return tuple(
        _still_there(record.endpoints[index], pods) if held[index] or isinstance(endpoints, Problem) else endpoints
        for index, endpoints in enumerate(found)
    ), True


def _still_there(endpoints: tuple[Endpoint, ...], pods: Mapping[str, frozenset[str]]) -> tuple[Endpoint, ...]:
    return tuple(e for e in endpoints if not e.pod or e.address in pods.get(e.pod, frozenset()))


def _stale(
    view: ClusterView, owner: Identity, target: Target, last: Record | None, proxies: Proxies, *, is_complete: bool
) -> tuple[Json, ...]:
    """A former destination when the present one serves, and ConfigMaps that no pod mounts, at any time.

    While the Deployment's controller has yet to see a change, it may be making pods of what was applied before.
    """
    kinds = ("Service",) * is_complete + ("ConfigMap",) * rollout.has_been_seen(proxies.deployment)
    wanted = {(desired["kind"], desired["metadata"]["name"]) for desired in target.all_objects}
    mounted = rollout.mounted_digests(proxies.found) | ({last.digest} if last else set())
    wanted |= {("ConfigMap", owner.mounted_name(digest)) for digest in mounted}
    owned = view.owned_by(owner.namespace, owner.uid)
    return tuple(obj for obj in owned if obj["kind"] in kinds and (obj["kind"], obj["metadata"]["name"]) not in wanted)
