"""Metrics with every series that there can be."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from engine.model.status import Condition, ProxyStatus
from kanary.operator.metrics import Metrics
from states import Phase
from states.evidence import Counts
from tests.unit.test_metrics import V1, V2, counted, counting, rollout, serving, show, status_of

LOST = Condition(
    type="HistoryRecorded",
    status="False",
    reason="EntriesLost",
    observed_generation=1,
    last_transition_time="2026-11-26T12:00:00Z",
    message="why",
)


def show_everything(metrics: Metrics) -> None:
    """A Kanary in the middle of a rollout, and an operator with which everything has happened once."""
    declared, present = rollout()
    status = status_of(
        serving(V1, 90, actual=Decimal("90.1"), ready=3, up=2, down=0, ejected=1, connections=0),
        serving(V2, 10, ready=1, up=1, down=0, ejected=0, connections=0),
        phase=Phase.ROLLING,
        reason="StepWatched",
        since=datetime(2026, 11, 26, 12, tzinfo=UTC),
        proxies=ProxyStatus(name="web-haproxy", replicas=2, ready=2, updated=2),
        conditions=(LOST,),
        rollout=counted(present, v1=Counts(900, 1), v2=Counts(100, 2)),
    )
    show(metrics, status, declared=declared)
    metrics.kanaries.count("shop", "web", counting(0), counting(900, 3, 1))
    metrics.reconciled("success", 0.01)
    metrics.transition("roll")
    metrics.rollout_transition("begin")
    metrics.served(0.4)
    metrics.event_dropped()
    metrics.observe_watch("pods", lambda: 1.0)
    metrics.requested("get", 200)
    metrics.history_rows("entries", 1)
    metrics.history_failed("Unavailable")
    metrics.history_dropped()
