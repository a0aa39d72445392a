"""Chooses the split in force: the declared one if it can be applied, otherwise the last good one."""

from collections.abc import Iterable, Mapping

from engine.course import Course
from engine.model.spec import Backend, KanarySpec
from engine.model.states import Endpoint, Split
from engine.observe import Observed
from engine.ports import ClusterView
from engine.resolve.endpoints import Resolved
from engine.resolve.intent import resolve_backend
from engine.resolve.loops import Loops
from engine.resolve.slices import still_in
from states import OnEmptyRoute, Problem, Reason, Snapshot


def split_in_force(view: ClusterView, observed: Observed, snapshot: Snapshot, course: Course) -> Split | None:
    """The split in force: the declared spec if it can be applied, otherwise the last good one, or None.

    The rollout decides about its weights. A rollback does not wait until the declared spec can be applied.
    """
    declared, applied = observed.to_apply, observed.written.applied
    if is_declared := snapshot.applies_spec and declared is not None:
        spec, generation, known = course.applied_to(declared), observed.intent.generation, observed.intent.endpoints
    elif applied:
        spec, generation, known = course.back_from(applied.spec), applied.generation, {}
    else:
        return None
    others = [route.backend for route in spec.all_routes if route.backend not in known]
    holds_empty = applied is not None and OnEmptyRoute.HOLD in (snapshot.on_empty_route, applied.spec.on_empty_route)
    endpoints, holds_pods = _last_good_endpoints(view, observed, others, holds_empty=holds_empty)
    if applied and spec is not applied.spec and spec == applied.spec:
        # An equal spec would be another object.
        spec = applied.spec
    is_last_good = applied is not None and spec is applied.spec and not is_declared
    revision, is_in_status = (applied.revision, True) if applied and is_last_good else _revision(observed, spec)
    return Split(spec, generation, revision, {**known, **endpoints}, is_in_status, course.rollout, holds_pods)


def _revision(observed: Observed, spec: KanarySpec) -> tuple[int, bool]:
    """The revision of these weights, and whether the status has it. Changed weights get the next number."""
    noted, applied = observed.status.split, observed.written.applied
    last = max(noted.revision if noted else 0, applied.revision if applied else 0, observed.status.revision)
    known = noted.weights if noted and noted.revision == last else applied.spec.shares if applied else ()
    return (last, True) if known == spec.shares else (last + 1, False)


def _last_good_endpoints(
    view: ClusterView, observed: Observed, backends: Iterable[Backend], *, holds_empty: bool
) -> tuple[Mapping[Backend, tuple[Endpoint, ...]], bool]:
    """The current endpoints of these backends; if they cannot be resolved, the addresses that their pods still have.

    An address is kept only with its pod: without it, another pod may have the address by now. Also returns whether
    pods are looked up. If the endpoints are too many, the last good ones are kept as long as they are among them.
    """
    applied = observed.written.applied
    found = {
        # A former route leads to further ports that neither the declared spec nor the written one has yet.
        backend: observed.backends.get(backend) or resolve_backend(view, observed.owner, backend, observed.memo)
        for backend in backends
    }
    known = {
        backend: now.endpoints
        for backend, now in found.items()
        if isinstance(now, Resolved) and not observed.is_unknown(backend) and (now.endpoints or not holds_empty)
    }
    held = {backend: applied.endpoints_of(backend) if applied else () for backend in found.keys() - known.keys()}
    for backend, now in found.items():
        if isinstance(now, Problem) and now.reason is Reason.TOO_MANY_ENDPOINTS:
            known[backend] = _still_endpoints(view, observed, backend, held.pop(backend))
    names = frozenset(endpoint.pod for endpoints in held.values() for endpoint in endpoints if endpoint.pod)
    pods = view.pod_addresses(observed.owner.namespace, names) if names else {}
    loops = Loops(view, observed.owner, observed.memo)
    kept = {
        backend: loops.without([e for e in endpoints if not e.pod or e.address in pods.get(e.pod, frozenset())])
        for backend, endpoints in held.items()
    }
    return {backend: known[backend] if backend in known else kept[backend] for backend in found}, bool(held)


def _still_endpoints(
    view: ClusterView, observed: Observed, backend: Backend, endpoints: tuple[Endpoint, ...]
) -> tuple[Endpoint, ...]:
    slices = view.slices(observed.owner.namespace, backend.service_name)
    present = frozenset[Endpoint]().union(*[observed.memo(still_in, piece, endpoints) for piece in slices])
    return endpoints if len(present) == len(endpoints) else tuple(e for e in endpoints if e in present)
