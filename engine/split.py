"""Chooses the split in force: the declared one if it can be applied, otherwise the last good one."""

from collections.abc import Mapping

from engine.model.spec import Backend, KanarySpec
from engine.model.states import Endpoint, Split
from engine.observe import Observed
from engine.ports import ClusterView
from engine.resolve.endpoints import Resolved
from states import OnEmptyRoute, Snapshot


def split_in_force(view: ClusterView, observed: Observed, snapshot: Snapshot) -> Split | None:
    """The split in force: the declared spec if it can be applied, otherwise the last good one, or None."""
    spec, applied = observed.intent.spec, observed.written.applied
    if snapshot.applies_spec and spec:
        return _declared_split(observed, observed.to_apply or spec)
    if applied is None:
        return None
    endpoints, holds_pods = _last_good_endpoints(view, observed, snapshot.on_empty_route)
    return Split(
        applied.spec, applied.generation, applied.revision, endpoints, is_in_status=True, holds_pods=holds_pods
    )


def _declared_split(observed: Observed, spec: KanarySpec) -> Split:
    """The declared spec and its revision: one more than the last, unless the weights are the same."""
    noted, applied, intent = observed.status.split, observed.written.applied, observed.intent
    last = max(noted.revision if noted else 0, applied.revision if applied else 0, observed.status.revision)
    known = noted.weights if noted and noted.revision == last else applied.spec.shares if applied else ()
    is_in_status = known == spec.shares
    return Split(
        spec, intent.generation, last if is_in_status else last + 1, intent.endpoints, is_in_status=is_in_status
    )


def _last_good_endpoints(
    view: ClusterView, observed: Observed, on_empty_route: OnEmptyRoute
) -> tuple[Mapping[Backend, tuple[Endpoint, ...]], bool]:
    """The current endpoints of the last good spec; if they cannot be resolved, the addresses that its pods still have.

    An address is kept only with its pod: without it, another pod may have the address by now.
    """
    owner, applied = observed.owner, observed.written.applied
    if applied is None:
        return {}, False
    routes = applied.spec.routes
    found = {route.backend: observed.backends.get(route.backend) for route in routes}
    holds_empty = OnEmptyRoute.HOLD in (on_empty_route, applied.spec.on_empty_route)
    known = {
        backend: now.endpoints
        for backend, now in found.items()
        if isinstance(now, Resolved) and not observed.is_unknown(backend) and (now.endpoints or not holds_empty)
    }
    held = {backend: applied.endpoints_of(backend) for backend in found.keys() - known.keys()}
    names = frozenset(endpoint.pod for endpoints in held.values() for endpoint in endpoints if endpoint.pod)
    pods = view.pod_addresses(owner.namespace, names) if names else {}
    kept = {
        backend: tuple(e for e in endpoints if not e.pod or e.address in pods.get(e.pod, frozenset()))
        for backend, endpoints in held.items()
    }
    return {backend: known[backend] if backend in known else kept[backend] for backend in found}, bool(held)
