"""Snapshots for the tests of the states: one of a Kanary that serves, and arbitrary ones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from states import (
    Delivery,
    Difference,
    OnEmptyRoute,
    Phase,
    Problem,
    Progress,
    Reason,
    RouteFacts,
    Snapshot,
    UnreachedRoute,
    UpdateStrategy,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=600)
DONE = Delivery(Difference.NONE, Progress.CURRENT, Progress.CURRENT, replicas=2, ready=2, is_applied=True)
FAULT = Problem(Reason.INVALID_WEIGHTS, "spec.routes: weights sum to 90 (70 + 20), 10 too few: they must sum to 100")
MISSING = Problem(Reason.BACKEND_NOT_FOUND, 'Service "v2" does not exist in namespace shop: create it')


def serving(**changes: Any) -> Snapshot:
    """A Kanary that serves 80 to 20 from two proxies, with these fields changed."""
    ready = Snapshot(
        phase=Phase.READY,
        now=NOW,
        since=LONG_AGO,
        routes=(RouteFacts("v1", 80, 2), RouteFacts("v2", 20, 1)),
        has_served=True,
        revision=3,
        is_in_status=True,
        weights="v1=80 v2=20",
        delivery=DONE,
    )
    return replace(ready, **changes)


def new(**changes: Any) -> Snapshot:
    """A Kanary that was just created beside two backends that have endpoints."""
    fresh = {
        "phase": Phase.PENDING,
        "since": NOW - timedelta(seconds=2),
        "waits_for_endpoints": True,
        "has_served": False,
        "is_change": True,
        "spec_changed": True,
        "is_in_status": False,
        "revision": 1,
        "delivery": Delivery(replicas=2),
    }
    return serving(**(fresh | changes))


def with_endpoints(*counts: int) -> tuple[RouteFacts, ...]:
    """Routes v1 (80), v2 (20) and then routes of weight 0, with so many endpoints each."""
    weights = [80, 20, *([0] * len(counts))]
    return tuple(
        RouteFacts(f"v{number}", weights[number - 1], endpoints) for number, endpoints in enumerate(counts, start=1)
    )


_messages = st.sampled_from(["one thing", "another: 5 of 7"])
_problems = st.builds(Problem, st.sampled_from(Reason), _messages)
_texts = st.just("") | _messages
moments = st.integers(-3600, 3_600_000).map(lambda milliseconds: NOW - timedelta(milliseconds=milliseconds))


def _spans(most: timedelta) -> st.SearchStrategy[timedelta]:
    return st.integers(1, int(most / timedelta(milliseconds=1))).map(lambda n: timedelta(milliseconds=n))


@st.composite
def routes(draw: st.DrawFn) -> tuple[RouteFacts, ...]:
    """One to five routes whose weights sum to 100."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=4)))
    shares = [end - start for start, end in zip([0, *cuts], [*cuts, 100], strict=True)]
    return tuple(RouteFacts(f"v{number}", share, draw(st.integers(0, 2))) for number, share in enumerate(shares))


deliveries = st.builds(
    Delivery,
    difference=st.sampled_from(Difference),
    progress=st.sampled_from(Progress),
    former=st.sampled_from(Progress),
    replicas=st.integers(1, 5),
    ready=st.integers(0, 5),
    is_applied=st.booleans(),
    others_listen_for=st.none() | _spans(timedelta(seconds=9)),
    written_at=st.none() | moments,
    strategy=st.sampled_from(UpdateStrategy),
    fallback=_texts,
    trouble=_texts,
    waiting_for=_texts,
    rejection=_texts,
    exhaustion=_texts,
    unreached=st.sampled_from([(), (UnreachedRoute("v0", Decimal(10), timedelta()),)]),
    reload_spacing=st.none() | _spans(timedelta(seconds=5)),
    next_limit=st.none() | _spans(timedelta(seconds=30)),
)

snapshots = st.builds(
    Snapshot,
    phase=st.sampled_from(Phase),
    now=st.just(NOW),
    since=st.none() | moments,
    waits_for_endpoints=st.booleans(),
    fault=st.none() | _problems,
    missing=st.none() | _problems,
    routes=routes(),
    on_empty_route=st.sampled_from(OnEmptyRoute),
    rejection=st.none() | _problems,
    paused=st.booleans(),
    has_served=st.booleans(),
    reports_unreached=st.booleans(),
    lost=_texts,
    is_change=st.booleans(),
    spec_changed=st.booleans(),
    progressing_since=st.none() | moments,
    progress_deadline=st.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    revision=st.integers(0, 9),
    is_in_status=st.booleans(),
    weights=_messages,
    delivery=deliveries,
    stale=st.sampled_from([(), ("old",)]),
)
"""Whatever the flags say, consistent or not."""

obeyable = st.builds(
    lambda snapshot, kept: replace(
        snapshot, fault=None, missing=None, paused=False, routes=kept, on_empty_route=OnEmptyRoute.REDISTRIBUTE
    ),
    snapshots,
    routes().filter(lambda found: any(route.weight and route.endpoints for route in found)),
)
"""Snapshots with nothing in the way of the spec that is declared."""
