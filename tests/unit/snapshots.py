"""Snapshots for the tests of the states: one of a Kanary that serves, and arbitrary ones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from states import OnEmptyRoute, Phase, Problem, Reason, Rollout, RouteFacts, Snapshot, UpdateStrategy

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
DONE = Rollout(replicas=2, ready=2, is_configured=True, is_applied=True, is_complete=True)
FAULT = Problem(Reason.INVALID_WEIGHTS, "spec.routes: weights sum to 90 (70 + 20), 10 too few: they must sum to 100")
MISSING = Problem(Reason.BACKEND_NOT_FOUND, 'Service "v2" does not exist in namespace shop: create it')


def serving(**changes: Any) -> Snapshot:
    """A Kanary that serves 80 to 20 from two proxies, with these fields changed."""
    ready = Snapshot(
        phase=Phase.READY,
        now=NOW,
        routes=(RouteFacts("v1", 80, 2), RouteFacts("v2", 20, 1)),
        has_served=True,
        backends_since=NOW - timedelta(hours=1),
        revision=3,
        weights="v1=80 v2=20",
        rollout=DONE,
    )
    return replace(ready, **changes)


def new(**changes: Any) -> Snapshot:
    """A Kanary that was just created beside two backends that have endpoints."""
    fresh = {
        "phase": Phase.PENDING,
        "has_served": False,
        "is_change": True,
        "spec_changed": True,
        "is_new_revision": True,
        "backends_since": NOW - timedelta(seconds=2),
        "revision": 1,
        "rollout": Rollout(replicas=2),
    }
    return serving(**(fresh | changes))


def with_endpoints(*counts: int) -> tuple[RouteFacts, ...]:
    """Routes v1 (80), v2 (20) and then routes of weight 0, with so many endpoints each."""
    weights = [80, 20, *([0] * len(counts))]
    return tuple(
        RouteFacts(f"v{number}", weights[number - 1], endpoints) for number, endpoints in enumerate(counts, start=1)
    )


_characters = st.characters(codec="ascii", categories=["L", "N", "P", "Zs"])
_messages = st.text(_characters, min_size=1, max_size=20).filter(str.strip)
_problems = st.builds(Problem, st.sampled_from(Reason), _messages)
_texts = st.just("") | _messages
_spans = st.integers(-3600, 3_600_000).map(lambda milliseconds: timedelta(milliseconds=milliseconds))
_moments = _spans.map(lambda span: NOW - span)


@st.composite
def routes(draw: st.DrawFn) -> tuple[RouteFacts, ...]:
    """One to five routes whose weights sum to 100."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=4)))
    shares = [end - start for start, end in zip([0, *cuts], [*cuts, 100], strict=True)]
    return tuple(RouteFacts(f"v{number}", share, draw(st.integers(0, 2))) for number, share in enumerate(shares))


rollouts = st.builds(
    Rollout,
    replicas=st.integers(1, 5),
    ready=st.integers(0, 5),
    is_configured=st.booleans(),
    is_applied=st.booleans(),
    is_complete=st.booleans(),
    others_listen_for=st.none() | st.integers(1, 9_000).map(lambda milliseconds: timedelta(milliseconds=milliseconds)),
    is_taken=st.booleans(),
    is_settling=st.booleans(),
    trouble=_texts,
    strategy=st.sampled_from(UpdateStrategy),
    look_again=st.none() | st.integers(1, 30).map(lambda seconds: timedelta(seconds=seconds)),
    unreported=_texts,
    refusal=_texts,
    exhaustion=_texts,
    reload_spacing=st.none() | st.integers(1, 5_000).map(lambda milliseconds: timedelta(milliseconds=milliseconds)),
)

snapshots = st.builds(
    Snapshot,
    phase=st.sampled_from(Phase),
    now=st.just(NOW),
    fault=st.none() | _problems,
    missing=st.none() | _problems,
    routes=routes(),
    on_empty_route=st.sampled_from(OnEmptyRoute),
    refusal=st.none() | _problems,
    paused=st.booleans(),
    has_served=st.booleans(),
    is_change=st.booleans(),
    spec_changed=st.booleans(),
    backends_since=st.none() | _moments,
    progressing_since=st.none() | _moments,
    progress_deadline=st.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    revision=st.integers(0, 9),
    is_new_revision=st.booleans(),
    weights=_messages,
    rollout=rollouts,
    stale=st.sampled_from([(), ("old",)]),
)
"""Whatever the flags say, consistent or not."""

obeyable = st.builds(
    lambda snapshot, kept, since: replace(
        snapshot,
        fault=None,
        missing=None,
        paused=False,
        routes=kept,
        on_empty_route=OnEmptyRoute.REDISTRIBUTE,
        backends_since=since,
    ),
    snapshots,
    routes().filter(lambda found: any(route.weight and route.endpoints for route in found)),
    _moments,
)
"""Snapshots with nothing in the way of the spec that is declared."""
