"""A Kanary's status: read however spoilt it may be, and written from what was decided and done."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from engine.changes import KEPT_TRANSITIONS, Confirmed
from engine.record import Record
from hypothesis import given
from hypothesis import strategies as st

from engine.conditions import Recording
from engine.model.spec import KanaryStatus
from engine.model.times import read_time, time_text
from engine.status import Kept, Served, next_status, read_phase, read_status
from states import Decision, Phase, Reason, RouteFacts, Trigger
from tests.unit.kanaries import Json, json_values, spec
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)
SERVING = Decision(None, Reason.SERVING, "2 of 2 proxies serve the configuration of revision 3")
ROLLING = Decision(Trigger.ROLL, Reason.ROLLING_OUT, "0 of 2 proxies serve the configuration of revision 3")
RECORD = Record(spec(), ((), ()), 3, "0123456789abcdef", NOW)
ROUTES = (RouteFacts("myapp-v1", 80, 2), RouteFacts("myapp-v2", 20, 1))
DONE = Served(RECORD, ROUTES, "myapp-split-haproxy", 2, is_complete=True, is_served=True)
BEHIND = replace(DONE, ready=1, is_complete=False, is_served=False)
NOTHING = Served(None, (), "myapp-split-haproxy", 0, is_complete=False)


RECORDED = Recording(True, "Recorded", "every change is in the history")
CONFIRMED = Kept(Confirmed(10**6, 10**6), RECORDED)


def following(before: Json | None, *, generation: int = 1, **changes: Any) -> Json:
    """The status after `before` for a Kanary that serves, with these arguments changed."""
    arguments: dict[str, Any] = {
        "kanary": {"metadata": {"generation": generation}},
        "kept": CONFIRMED,
        "phase": Phase.READY,
        "decision": SERVING,
        "served": DONE,
        "now": NOW,
    }
    return next_status(read_status({"status": before}), **(arguments | changes))


def condition(status: Json, type_: str) -> Json:
    (found,) = (each for each in status["conditions"] if each["type"] == type_)
    return dict(found)


# Writing


def test_a_status_says_what_is_served_and_by_whom() -> None:
    status = following(None, generation=7)
    conditions = status.pop("conditions")
    assert status == {
        "observedGeneration": 7,
        "phase": "Ready",
        "reason": "Serving",
        "message": "2 of 2 proxies serve the configuration of revision 3",
        "revision": 3,
        "weights": [
            {"backend": "myapp-v1", "weight": 80, "endpoints": 2},
            {"backend": "myapp-v2", "weight": 20, "endpoints": 1},
        ],
        "proxies": {"name": "myapp-split-haproxy", "replicas": 2, "ready": 2, "strategy": "Rolling"},
        "display": {"weights": "myapp-v1=80 myapp-v2=20", "ready": "2/2"},
        "configHash": "0123456789abcdef",
        "transitions": [],
        "changes": [
            {
                "revision": 3,
                "generation": 7,
                "at": "2026-01-01T12:00:00.000Z",
                "before": [],
                "routes": [
                    {"backend": "myapp-v1", "weight": 80, "serviceName": "myapp-v1", "servicePort": "http"},
                    {"backend": "myapp-v2", "weight": 20, "serviceName": "myapp-v2", "servicePort": 9090},
                ],
                "cause": "created",
                "manager": "",
                "configHash": "0123456789abcdef",
                "result": "Ready",
                "endedAt": "2026-01-01T12:00:00.000Z",
                "seconds": 0.0,
            }
        ],
    }
    assert conditions == [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 7,
            "lastTransitionTime": "2026-01-01T12:00:00Z",
            "reason": "Serving",
            "message": "2 of 2 proxies serve the configuration of revision 3",
        },
        {
            "type": "Progressing",
            "status": "False",
            "observedGeneration": 7,
            "lastTransitionTime": "2026-01-01T12:00:00Z",
            "reason": "Serving",
            "message": "2 of 2 proxies serve the configuration of revision 3",
        },
        {
            "type": "HistoryRecorded",
            "status": "True",
            "observedGeneration": 7,
            "lastTransitionTime": "2026-01-01T12:00:00Z",
            "reason": "Recorded",
            "message": "every change is in the history",
        },
    ]


def test_where_nothing_is_served_nothing_is_shown() -> None:
    waiting = Decision(None, Reason.BACKEND_NOT_FOUND, 'Service "myapp-v1" does not exist')
    status = following(None, phase=Phase.PENDING, decision=waiting, served=NOTHING)
    assert not {"proxies", "display", "configHash", "progressingSince"} & status.keys()
    assert (status["phase"], status["weights"], status["revision"]) == ("Pending", [], 0)


def test_the_revision_outlives_the_record() -> None:
    """Should somebody delete the ConfigMap, the next weights are not called revision 1 again."""
    assert following({"revision": 12}, served=NOTHING)["revision"] == 12


def test_a_second_later_the_same_status_is_written() -> None:
    first = following(None)
    assert following(first, now=NOW + SECOND) == first


def test_a_rollout_that_stands_still_has_the_same_status_a_second_later() -> None:
    arguments = {"phase": Phase.ROLLING, "decision": replace(ROLLING, trigger=None), "served": BEHIND}
    first = following(None, **arguments)
    assert following(first, **arguments, now=NOW + SECOND) == first


# Reading


def test_a_status_is_read_as_it_was_written() -> None:
    status = following(following(None, decision=ROLLING, phase=Phase.ROLLING, served=BEHIND))
    assert read_status({"status": status}).model_dump(mode="json", by_alias=True, exclude_none=True) == status


@pytest.mark.parametrize("status", [None, "Ready", 5, [], [{}], True])
def test_a_status_that_is_no_object_is_as_good_as_none(status: Any) -> None:
    assert read_status({"status": status}) == read_status({}) == KanaryStatus()


def test_what_can_be_read_of_a_spoilt_status_is_kept() -> None:
    status = following(None) | {"revision": "x", "conditions": [{"type": "Ready"}], "proxies": 5}
    read = read_status({"status": status})
    assert (read.revision, read.conditions, read.proxies) == (0, (), None)
    assert (read.phase, read.observed_generation, len(read.weights)) == ("Ready", 1, 2)


def test_what_other_versions_wrote_is_ignored() -> None:
    assert read_status({"status": {"revision": 3, "steps": [1, 2]}}).revision == 3


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_read(phase: Phase) -> None:
    assert read_phase(KanaryStatus(phase=phase.value)) is phase


@pytest.mark.parametrize("text", ["", "ready", "READY", "Done", "Ready\n"])
def test_an_unknown_phase_begins_again_in_pending(text: str) -> None:
    assert read_phase(KanaryStatus(phase=text)) is Phase.PENDING


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-01T12:00:00Z", NOW),
        ("2026-01-01T12:00:00.000000Z", NOW),
        ("2026-01-01T14:00:00+02:00", NOW),
        ("2026-01-01T12:00:00", None),
        ("2026-01-01", None),
        ("", None),
        (None, None),
        ("yesterday", None),
        ("2026-13-45T00:00:00Z", None),
    ],
)
def test_a_time_is_read_if_it_says_which_moment_it_means(text: str | None, time: datetime | None) -> None:
    assert read_time(text) == time


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_a_time_is_read_as_it_was_written_to_the_second(time: datetime) -> None:
    assert read_time(time_text(time)) == time.replace(microsecond=0)


def test_times_are_written_in_utc_whatever_the_zone() -> None:
    assert time_text(NOW.astimezone(timezone(timedelta(hours=2)))) == "2026-01-01T12:00:00Z"


_FIELDS = sorted(KanaryStatus.model_json_schema(by_alias=True)["properties"])
_garbage = json_values | st.dictionaries(st.sampled_from([*_FIELDS, *KanaryStatus.model_fields]), json_values)
_spoilt = st.dictionaries(st.sampled_from(_FIELDS), json_values).map(lambda changes: following(None) | changes)


@given(_garbage | _spoilt, st.sampled_from(Phase), st.sampled_from([SERVING, ROLLING]))
def test_whatever_the_status_holds_the_next_one_is_whole(status: Any, phase: Phase, decision: Decision) -> None:
    read = read_status({"status": status})
    assert isinstance(read_phase(read), Phase)
    read_time(read.progressing_since)
    written = next_status(
        read, {"metadata": {}}, phase=phase, decision=decision, served=BEHIND, kept=CONFIRMED, now=NOW
    )
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    again = KanaryStatus.model_validate(written, extra="forbid", strict=False)
    assert again.phase == phase.value
    assert read_time(again.progressing_since) is not None
    assert [each.type for each in again.conditions] == ["Ready", "Progressing", "HistoryRecorded"]


# Conditions


@pytest.mark.parametrize(
    ("phase", "served", "ready", "progressing"),
    [
        (Phase.PENDING, NOTHING, "False", "False"),
        (Phase.RENDERING, NOTHING, "False", "True"),
        (Phase.RENDERING, DONE, "False", "True"),
        (Phase.ROLLING, BEHIND, "False", "True"),
        (Phase.ROLLING, DONE, "False", "True"),
        (Phase.READY, DONE, "True", "False"),
        (Phase.DEGRADED, NOTHING, "False", "False"),
        (Phase.DEGRADED, BEHIND, "False", "True"),
        (Phase.DEGRADED, DONE, "False", "False"),
    ],
)
def test_each_phase_has_its_conditions(phase: Phase, served: Served, ready: str, progressing: str) -> None:
    status = following(None, phase=phase, served=served)
    assert condition(status, "Ready")["status"] == ready
    assert condition(status, "Progressing")["status"] == progressing


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = following(None)
    later = following(first, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND, now=NOW + SECOND)
    last = following(later, phase=Phase.DEGRADED, served=BEHIND, now=NOW + 2 * SECOND)
    assert [condition(status, "Ready")["lastTransitionTime"] for status in (first, later, last)] == [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:01Z",
        "2026-01-01T12:00:01Z",
    ]


# Transitions


def test_a_move_is_noted_with_where_it_came_from_and_why() -> None:
    status = following({"phase": "Rendering"}, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND)
    assert status["transitions"] == [
        {
            "number": 1,
            "at": "2026-01-01T12:00:00Z",
            "from": "Rendering",
            "to": "Rolling",
            "trigger": "roll",
            "reason": "RollingOut",
            "message": "0 of 2 proxies serve the configuration of revision 3",
        }
    ]


def test_whoever_stays_notes_no_move() -> None:
    assert following({"phase": "Ready"})["transitions"] == []


def test_moves_are_numbered_on_and_only_the_last_are_kept() -> None:
    status: Json = {}
    for _ in range(KEPT_TRANSITIONS + 5):
        status = following(status, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND)
    numbers = [move["number"] for move in status["transitions"]]
    assert numbers == list(range(6, KEPT_TRANSITIONS + 6))


def test_a_move_from_a_phase_that_nobody_knows_is_one_from_pending() -> None:
    status = following({"phase": "Bogus"}, phase=Phase.RENDERING, decision=replace(ROLLING, trigger=Trigger.RENDER))
    assert status["transitions"][0]["from"] == "Pending"


# Since when


def test_progress_counts_from_when_the_proxies_fell_behind() -> None:
    first = following(None, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND)
    later = following(first, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND, now=NOW + 60 * SECOND)
    assert first["progressingSince"] == later["progressingSince"] == "2026-01-01T12:00:00Z"


def test_progress_counts_anew_from_a_new_spec() -> None:
    first = following(None, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND)
    later = following(first, generation=2, phase=Phase.RENDERING, served=BEHIND, now=NOW + 60 * SECOND)
    assert later["progressingSince"] == "2026-01-01T12:01:00Z"


def test_progress_ends_when_all_proxies_serve() -> None:
    first = following(None, phase=Phase.ROLLING, decision=ROLLING, served=BEHIND)
    assert "progressingSince" not in following(first)


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.DEGRADED])
def test_while_the_user_is_awaited_no_progress_is_counted(phase: Phase) -> None:
    """A deadline that passed meanwhile would be told as soon as the user is done."""
    assert "progressingSince" not in following({"observedGeneration": 1}, phase=phase, served=NOTHING)


@pytest.mark.parametrize("since", ["soon", "2026-01-01T12:00:00", "9999-12-31T23:59:59Z"])
def test_a_start_that_cannot_have_been_begins_now(since: str) -> None:
    before = {"observedGeneration": 1, "progressingSince": since}
    assert following(before, phase=Phase.ROLLING, served=BEHIND)["progressingSince"] == "2026-01-01T12:00:00Z"
