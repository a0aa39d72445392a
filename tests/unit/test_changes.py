"""Changes of weights as a status remembers them."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from engine.changes import (
    CAUSE_ANNOTATION,
    KEPT_CHANGES,
    KEPT_TRANSITIONS,
    MOST_CHANGES,
    MOST_TRANSITIONS,
    Confirmed,
    bounded,
    changes,
    manager,
)
from engine.record import Record
from hypothesis import given
from hypothesis import strategies as st

from engine.model.spec import HistoryStatus, KanaryStatus, TransitionStatus
from tests.unit.kanaries import Json, route, spec
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)
FIRST = Record(spec(), ((), ()), 1, "a" * 16, NOW)
SECOND_SPEC = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)])


def kanary(cause: str = "", **metadata: Any) -> Json:
    annotations = {CAUSE_ANNOTATION: cause} if cause else {}
    return {"metadata": {"generation": 7, "annotations": annotations, **metadata}}


def after(
    before: KanaryStatus, record: Record | None, obj: Json | None = None, *, is_ready: bool = False, now: datetime = NOW
) -> KanaryStatus:
    obj = obj or kanary()
    known = changes(before, record, obj, is_ready=is_ready, now=now)
    annotated = obj["metadata"]["annotations"].get(CAUSE_ANNOTATION)
    is_new = record is not None and record.revision > before.revision
    return KanaryStatus(
        revision=record.revision if record else 0,
        changes=known,
        change_cause=annotated if is_new else before.change_cause,
    )


def second(**changes: Any) -> Record:
    return replace(FIRST, spec=SECOND_SPEC, revision=2, digest="b" * 16, **changes)


def test_a_revision_is_noted_once() -> None:
    first = after(KanaryStatus(), FIRST)
    assert [change.revision for change in first.changes] == [1]
    assert after(first, FIRST, now=NOW + SECOND).changes == first.changes


def test_a_change_says_what_became_of_what() -> None:
    (_, change) = after(after(KanaryStatus(), FIRST), second()).changes
    assert [(r.backend, r.weight) for r in change.before] == [("myapp-v1", 80), ("myapp-v2", 20)]
    assert [(r.backend, r.weight, r.service_name, r.service_port) for r in change.routes] == [
        ("myapp-v1", 50, "myapp-v1", "http"),
        ("myapp-v2", 50, "myapp-v2", 9090),
    ]
    assert (change.generation, change.config_hash) == (7, "b" * 16)


def test_a_change_is_ready_when_the_kanary_is_and_says_how_long_that_took() -> None:
    first = after(KanaryStatus(), FIRST)
    (done,) = after(first, FIRST, is_ready=True, now=NOW + 6.1 * SECOND).changes
    assert (done.result, done.seconds, done.ended_at) == ("Ready", 6.1, "2026-01-01T12:00:06.100Z")
    later = after(KanaryStatus(revision=1, changes=(done,)), FIRST, is_ready=True, now=NOW + 60 * SECOND)
    assert later.changes == (done,)


def test_a_change_that_was_overtaken_is_superseded() -> None:
    one, two = after(after(KanaryStatus(), FIRST), second(), now=NOW + 2 * SECOND).changes
    assert (one.result, one.seconds) == ("Superseded", 2.0)
    assert two.result == ""


def test_the_cause_is_what_the_user_says_as_long_as_it_is_new() -> None:
    said = kanary("raise to half (JIRA-12)")
    first = after(KanaryStatus(), FIRST)
    assert first.changes[0].cause == "created"
    half = after(first, second(), said)
    assert half.changes[-1].cause == "raise to half (JIRA-12)"
    third = after(half, replace(FIRST, revision=3), said)
    assert third.changes[-1].cause == "spec changed"
    fourth = after(third, second(), said)
    assert fourth.changes[-1].cause == "spec changed"
    fifth = after(fourth, replace(second(), revision=5), kanary("and back"))
    assert fifth.changes[-1].cause == "and back"


def test_a_cause_is_one_line_of_bounded_length() -> None:
    change = after(KanaryStatus(), FIRST, kanary("a\nb " + "x" * 1000)).changes[0]
    assert change.cause.startswith("a b xxx")
    assert len(change.cause) == 200


def entry(name: str, time: str, *, field: str = "f:routes", **more: Any) -> Json:
    return {"manager": name, "time": time, "fieldsV1": {"f:spec": {field: {}}}, **more}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], ""),
        ([entry("argocd", "2026-01-01T12:00:00Z")], "argocd"),
        ([entry("a", "2026-01-01T12:00:00Z"), entry("b", "2026-01-02T12:00:00Z")], "b"),
        ([entry("kubectl-client-side-apply", "2026-01-01T12:00:00Z")], "kubectl"),
        ([entry("a", "1"), entry("scaler", "2", field="f:paused")], "a"),
        ([entry("a", "1"), entry("kanary", "2", subresource="status")], "a"),
        ([{}, {"fieldsV1": None}], ""),
    ],
)
def test_who_did_it_is_whoever_last_wrote_the_routes(entries: list[Json], expected: str) -> None:
    assert manager(kanary(managedFields=entries)) == expected


# What is kept


def noted(revisions: range) -> KanaryStatus:
    status = after(KanaryStatus(), FIRST)
    return KanaryStatus(changes=tuple(status.changes[0].model_copy(update={"revision": n}) for n in revisions))


def moves(numbers: range) -> tuple[TransitionStatus, ...]:
    about = {"at": "2026-01-01T12:00:00Z", "source": "Ready", "to": "Rolling", "trigger": "roll"}
    return tuple(TransitionStatus(number=n, reason="RollingOut", message="", **about) for n in numbers)


def kept(revision: int, transition: int, most: int = 200) -> tuple[list[int], list[int], HistoryStatus]:
    found = bounded(
        HistoryStatus(), noted(range(1, most + 1)).changes, moves(range(1, most + 1)), Confirmed(revision, transition)
    )
    return [c.revision for c in found[0]], [m.number for m in found[1]], found[2]


def test_a_few_are_kept_although_the_history_has_them() -> None:
    revisions, numbers, lost = kept(200, 200)
    assert revisions == list(range(201 - KEPT_CHANGES, 201))
    assert numbers == list(range(201 - KEPT_TRANSITIONS, 201))
    assert lost == HistoryStatus()


def test_what_the_history_does_not_have_is_kept() -> None:
    revisions, numbers, lost = kept(190, 170)
    assert revisions == list(range(191, 201))
    assert numbers == list(range(171, 201))
    assert lost == HistoryStatus()


def test_what_is_too_much_is_dropped_from_the_oldest_on_and_counted() -> None:
    revisions, numbers, lost = kept(100, 100)
    assert revisions == list(range(201 - MOST_CHANGES, 201))
    assert numbers == list(range(201 - MOST_TRANSITIONS, 201))
    assert lost == HistoryStatus(lost_changes=100 - MOST_CHANGES, lost_transitions=100 - MOST_TRANSITIONS)


@given(st.integers(0, 120), st.integers(0, 130), st.integers(0, 130))
def test_nothing_is_dropped_without_being_known_or_counted(count: int, revision: int, transition: int) -> None:
    revisions, numbers, lost = kept(revision, transition, count)
    unknown = [n for n in range(1, count + 1) if n > revision]
    assert lost.lost_changes == len(set(unknown) - set(revisions))
    assert lost.lost_transitions == len({n for n in range(1, count + 1) if n > transition} - set(numbers))
    assert len(revisions) <= MOST_CHANGES
