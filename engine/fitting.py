"""Chooses the target: with all endpoints, or with as many as before if a ConfigMap has no room for all of them."""

from dataclasses import replace

from engine.course import Course
from engine.model.states import Endpoint, Split
from engine.observe import Observed
from engine.plan import Target, plan
from engine.ports import ClusterView
from engine.render.objects import size_problem
from engine.resolve.endpoints import Resolved
from engine.split import split_in_force
from states import Action, Problem, Snapshot


def target_in_force(
    view: ClusterView, observed: Observed, snapshot: Snapshot, course: Course
) -> tuple[Snapshot, Split | None, Target | None]:
    """The split in force and its target, if there are any, and the snapshot with the problem with their size."""
    split = split_in_force(view, observed, snapshot, course)
    target = plan(observed, split) if split else None
    problem = _size_problem(target) if target else None
    if problem is None:
        return snapshot, split, target
    # Nothing written would be no alternative: pods of the last good configuration end, and others get their addresses.
    snapshot = replace(snapshot, fault=problem)
    split = split_in_force(view, _without_growth(observed), snapshot, course)
    return snapshot, split, plan(observed, split) if split else None


def _size_problem(target: Target) -> Problem | None:
    *_, config_map = target.planned[Action.CONFIGURE]
    return size_problem(config_map.rendered) if config_map.is_new else None


def _without_growth(observed: Observed) -> Observed:
    """No backend has more endpoints than in the written configuration. Those that it has stay if they are ready."""
    applied = observed.written.applied
    backends = {
        backend: replace(found, endpoints=_as_many(found.endpoints, applied.endpoints_of(backend) if applied else ()))
        if isinstance(found, Resolved)
        else found
        for backend, found in observed.backends.items()
    }
    return replace(observed, backends=backends)


def _as_many(endpoints: tuple[Endpoint, ...], before: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    former = frozenset(before)
    # Others replace those that have ended: otherwise a rollout of the backend would leave it without endpoints.
    chosen = frozenset(sorted(endpoints, key=lambda endpoint: endpoint not in former)[: len(before)])
    return tuple(endpoint for endpoint in endpoints if endpoint in chosen)
