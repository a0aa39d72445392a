"""What is written down: weights that were decided on, how that ended, moves, and how much of it a status holds."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.course import Course
from engine.journal import CAUSE_ANNOTATION, KEPT_ENTRIES, MOST_BYTES, Journal, author, journal
from engine.model.entries import Entry, PhaseChange, entry_json, read_entry
from engine.model.spec import KanarySpec
from engine.model.states import Applied, Split
from engine.model.status import HistoryStatus, KanaryStatus
from engine.status import status_json
from states import Decision, Phase, Reason, Trigger
from tests.unit.kanaries import Json, route, spec
from tests.unit.observations import DIGEST, applied, observed, split
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)
HALF = spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)])
STAY = Decision(None, Reason.ROLLING_OUT, "0 of 2 proxies serve revision 1")
ROLL = Decision(Trigger.ROLL, Reason.ROLLING_OUT, "0 of 2 proxies serve revision 1")
READY = Decision(Trigger.COMPLETE, Reason.SERVING, "2 of 2 proxies serve revision 1")
EVERYTHING = 10**6
"""More entries than there are."""


def noted(
    before: KanaryStatus,
    found: Split | None,
    decision: Decision = STAY,
    phase: Phase = Phase.ROLLING,
    *,
    last: Applied | None = None,
    cause: str = "",
    after: float = 0,
    recorded: int = EVERYTHING,
) -> KanaryStatus:
    """The status with what is written down in a reconcile."""
    metadata = {"annotations": {CAUSE_ANNOTATION: cause} if cause else {}}
    seen = observed(before, last, now=NOW + after * SECOND, generation=7, metadata=metadata)
    made = journal(seen, found, decision, Course(), phase, digest=DIGEST, recorded=recorded)
    return KanaryStatus(phase=phase.value, split=made.split, history=made.history, change_cause=made.cause)


def entries(status: KanaryStatus) -> list[Json]:
    return [entry_json(entry) for entry in status.history.entries] if status.history else []


def kinds(status: KanaryStatus) -> list[str]:
    return [f"{entry['kind']} {entry.get('to', entry.get('revision'))}" for entry in entries(status)]


FIRST = noted(KanaryStatus(), split(is_in_status=False, generation=7))


# Changes of weights


def test_weights_are_written_down_with_what_they_were_before_and_which_spec_declared_them() -> None:
    second = noted(FIRST, split(HALF, 2, is_in_status=False, generation=8), last=applied())
    assert [entry for entry in entries(second) if entry["kind"] == "WeightChange"][1] == {
        "number": 3,
        "at": "2026-01-01T12:00:00.000Z",
        "kind": "WeightChange",
        "revision": 2,
        "generation": 8,
        "before": [{"backend": "myapp-v1:http", "weight": 80}, {"backend": "myapp-v2:9090", "weight": 20}],
        "after": [{"backend": "myapp-v1:http", "weight": 50}, {"backend": "myapp-v2:9090", "weight": 50}],
        "cause": "spec changed",
        "author": "",
        "digest": DIGEST,
    }
    assert second.split
    assert (second.split.revision, second.split.generation, second.split.weights) == (2, 8, HALF.shares)
    assert second.split.result is None


def test_a_revision_is_written_down_once() -> None:
    assert kinds(FIRST) == ["WeightChange 1"]
    assert noted(FIRST, split(), after=1).history == FIRST.history


def test_nothing_is_written_down_while_a_kanary_waits_or_has_nothing_to_serve() -> None:
    assert noted(KanaryStatus(), split(is_in_status=False), phase=Phase.PENDING).history is None
    assert noted(KanaryStatus(), None, phase=Phase.DEGRADED).history is None


def test_a_change_is_ready_when_the_kanary_is_and_it_is_noted_how_long_that_took() -> None:
    done = noted(FIRST, split(), READY, Phase.READY, after=6.1)
    assert kinds(done) == ["WeightChange 1", "PhaseChange Ready", "ChangeResult 1"]
    assert (entries(done)[-1]["result"], entries(done)[-1]["seconds"]) == ("Ready", 6.1)
    assert done.split
    assert done.split.result == "Ready"
    assert noted(done, split(), STAY, Phase.READY, after=60).history == done.history


def test_the_weights_of_another_revision_make_no_change_ready() -> None:
    kept = noted(FIRST, split(revision=9), STAY, Phase.READY)
    assert kinds(kept) == ["WeightChange 1"]


def test_a_change_that_was_overtaken_is_superseded() -> None:
    second = noted(FIRST, split(HALF, 2, is_in_status=False), after=2)
    assert kinds(second) == ["WeightChange 1", "ChangeResult 1", "WeightChange 2"]
    assert (entries(second)[1]["result"], entries(second)[1]["seconds"]) == ("Superseded", 2.0)


def test_a_clock_that_is_behind_makes_no_negative_time() -> None:
    assert entries(noted(FIRST, split(), READY, Phase.READY, after=-60))[-1]["seconds"] == 0.0


def test_a_change_that_the_history_was_given_before_the_status_was_lost_is_not_written_down_again() -> None:
    found = noted(KanaryStatus(), split(), last=applied())
    assert found.history is None
    assert found.split
    assert (found.split.revision, found.split.result) == (1, None)


def test_a_change_that_was_written_ends_though_the_status_has_lost_it() -> None:
    last = applied(revision=2)
    for before in (KanaryStatus(), FIRST):
        ready = noted(before, split(revision=2), READY, Phase.READY, last=last)
        assert kinds(ready)[-1] == "ChangeResult 2"
        assert entries(ready)[-1]["result"] == "Ready"
        third = noted(before, split(HALF, 3, is_in_status=False), last=last)
        assert kinds(third)[-2:] == ["ChangeResult 2", "WeightChange 3"]
        assert entries(third)[-2]["result"] == "Superseded"


def test_numbers_go_on_beyond_those_of_a_status_that_was_lost() -> None:
    found = noted(KanaryStatus(), split(HALF, 2, is_in_status=False), last=applied(entry=40))
    assert entries(found)[0]["number"] == 41
    older = KanaryStatus(history=HistoryStatus(last=12))
    assert entries(noted(older, split(HALF, 2, is_in_status=False), last=applied(entry=40)))[0]["number"] == 41


# Why, and by whom


def test_the_cause_is_what_the_user_says_as_long_as_it_is_new() -> None:
    def change(before: KanaryStatus, revision: int, declared: KanarySpec, cause: str) -> tuple[KanaryStatus, str]:
        after = noted(before, split(declared, revision, is_in_status=False), cause=cause)
        return after, entries(after)[-1]["cause"]

    assert entries(FIRST)[0]["cause"] == "created"
    half, reported = change(FIRST, 2, HALF, "raise to half (JIRA-12)")
    assert reported == "raise to half (JIRA-12)"
    third, reported = change(half, 3, spec(), "raise to half (JIRA-12)")
    assert reported == "spec changed"
    fourth, reported = change(third, 4, HALF, "raise to half (JIRA-12)")
    assert reported == "spec changed"
    assert change(fourth, 5, spec(), "and back")[1] == "and back"


def test_a_cause_is_one_line_of_bounded_length() -> None:
    change = entries(noted(KanaryStatus(), split(is_in_status=False), cause="a\nb " + "x" * 1000))[0]
    assert change["cause"].startswith("a b xxx")
    assert len(change["cause"]) == 200


def field(name: str, time: str, *, of: str = "f:routes", **more: Any) -> Json:
    return {"manager": name, "time": time, "fieldsV1": {"f:spec": {of: {}}}, **more}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], ""),
        ([field("argocd", "2026-01-01T12:00:00Z")], "argocd"),
        ([field("a", "2026-01-01T12:00:00Z"), field("b", "2026-01-02T12:00:00Z")], "b"),
        ([field("kubectl-client-side-apply", "2026-01-01T12:00:00Z")], "kubectl"),
        ([field("a", "1"), field("scaler", "2", of="f:paused")], "a"),
        ([field("a", "1"), field("kanary", "2", subresource="status")], "a"),
        ([{}, {"fieldsV1": None}], ""),
    ],
)
def test_the_author_is_the_field_manager_that_last_wrote_the_routes(fields: list[Json], expected: str) -> None:
    assert author({"metadata": {"managedFields": fields}}) == expected


def test_the_author_of_an_undo_is_the_undo_also_after_it_has_given_up_the_routes() -> None:
    metadata = {"managedFields": [field("kubectl", "1", of="f:port")], "annotations": {}}
    assert not author({"metadata": metadata})
    metadata |= {"annotations": {"kubernetes.io/change-cause": "undo to revision 2"}}
    assert author({"metadata": metadata}) == "kanary-undo"
    applied = [field("argocd", "2026-01-01T12:00:00Z")]
    assert author({"metadata": metadata | {"managedFields": applied}}) == "argocd"


# Moves


def test_a_move_is_written_down_with_where_it_came_from_and_why() -> None:
    moved = noted(KanaryStatus(phase="Rendering"), split(), ROLL, last=applied())
    reported = {
        "number": 1,
        "at": "2026-01-01T12:00:00.000Z",
        "kind": "PhaseChange",
        "from": "Rendering",
        "to": "Rolling",
        "trigger": "roll",
        "reason": "RollingOut",
        "message": "0 of 2 proxies serve revision 1",
    }
    assert reported.items() <= entries(moved)[-1].items()


def test_a_kanary_that_stays_in_its_phase_has_no_move_written_down() -> None:
    assert noted(FIRST, split()).history == FIRST.history


def test_a_move_from_an_unknown_phase_is_one_from_pending() -> None:
    assert entries(noted(KanaryStatus(phase="Bogus"), None, ROLL))[0]["from"] == "Pending"


# What is kept


def moves(count: int) -> tuple[Entry, ...]:
    about = {"at": NOW, "source": "Ready", "to": "Rolling", "trigger": "roll", "reason": "RollingOut", "message": ""}
    return tuple(PhaseChange(number=n, **about) for n in range(1, count + 1))


def kept(before: tuple[Entry, ...], recorded: int, lost: int = 0) -> HistoryStatus:
    last = before[-1].number if before else 0
    status = KanaryStatus(history=HistoryStatus(last=last, entries=before, lost=lost))
    found = noted(status, None, STAY, recorded=recorded).history
    assert found
    return found


def test_a_few_are_kept_although_the_history_has_them() -> None:
    assert [e.number for e in kept(moves(200), 200).entries] == list(range(201 - KEPT_ENTRIES, 201))


def test_what_the_history_does_not_have_is_kept() -> None:
    found = kept(moves(200), 150)
    assert ([e.number for e in found.entries], found.lost, found.last) == (list(range(151, 201)), 0, 200)


@settings(max_examples=30)
@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 3))
def test_nothing_is_dropped_without_being_recorded_or_counted(count: int, recorded: int, lost: int) -> None:
    found = kept(moves(count), recorded, lost)
    unknown = set(range(recorded + 1, count + 1)) - {entry.number for entry in found.entries}
    assert found.lost == lost + len(unknown)
    assert sum(len(json.dumps(entry_json(entry))) for entry in found.entries) <= MOST_BYTES


def test_entries_of_kinds_that_a_newer_version_wrote_are_kept_and_passed_on() -> None:
    raw = {"number": 1, "at": "2026-01-01T12:00:00.000Z", "kind": "Verdict", "weightBefore": 5, "why": {"p99": [1, 2]}}
    found = noted(KanaryStatus(history=HistoryStatus(last=1, entries=(read_entry(raw),))), None, ROLL, recorded=0)
    assert entries(found)[0] == raw
    assert entries(found)[1]["number"] == 2


def test_what_is_written_down_is_read_as_it_was() -> None:
    again = KanaryStatus.model_validate(status_json(FIRST), by_alias=True, by_name=False)
    assert again == FIRST
    assert isinstance(
        journal(observed(again), split(), STAY, Course(), Phase.ROLLING, digest=None, recorded=0), Journal
    )
