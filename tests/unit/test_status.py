"""A Kanary's status: read however spoilt it may be, and written from what was observed and decided."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.conditions import RECORDED, with_defect
from engine.course import Course
from engine.fleet.fleet import Fleet
from engine.fleet.reports import Report, RouteReport
from engine.journal import Journal, journal
from engine.last_status import MOST_STATUSES, LastStatuses, last_rejection, read_phase, read_status
from engine.model.entries import entry_json
from engine.model.spec import MAX_ROUTES
from engine.model.states import Applied, Split
from engine.model.status import HistoryStatus, KanaryStatus, RouteStatus
from engine.model.times import read_time, time_text
from engine.resolve.endpoints import Resolved
from engine.status import Outcome, next_status, only_counts_differ, status_json, with_former_details
from kanary.kube.cache import Unpacked
from states import Decision, Delivery, Difference, Phase, Problem, Progress, Reason, Trigger
from states.outlook import OUTLOOKS, Outlook
from states.rollout_rules import FAILURES
from tests import kstatus
from tests.unit.kanaries import Json, json_values, route, spec
from tests.unit.observations import DIGEST, V1, V2, applied, observed, split
from tests.unit.proxies import live
from tests.unit.snapshots import DONE, NOW

SECOND = timedelta(seconds=1)
SERVING = Decision(
    None,
    Reason.SERVING,
    "2 of 2 proxies serve revision 3: myapp-v1:http=80 myapp-v2:9090=20",
    rule="everything_is_served",
)
ROLLING = Decision(Trigger.ROLL, Reason.ROLLING_OUT, "0 of 2 proxies serve revision 3")
APPLIED = applied(revision=3)
BEHIND = replace(DONE, progress=Progress.BEHIND, former=Progress.BEHIND, ready=0)
TAKEN = replace(DONE, progress=Progress.ADOPTED, former=Progress.ADOPTED, ready=1)
NEW_WEIGHTS = replace(BEHIND, difference=Difference.WEIGHTS, former=Progress.CURRENT)
QUIET = Journal(None, None, None)


def test_the_statuses_that_were_read_last_are_not_read_again() -> None:
    statuses, raw = LastStatuses(), {"status": {"phase": "Ready"}}
    first = statuses.of(Unpacked(raw, 1))
    assert first == read_status(raw)
    for number in range(2, MOST_STATUSES + 1):
        assert statuses.of(Unpacked({"status": {"phase": "Rolling"}}, number)).phase == "Rolling"
    assert statuses.of(Unpacked(raw, 1)) is first
    for number in range(2, MOST_STATUSES + 2):
        statuses.of(Unpacked(raw, number))
    assert statuses.of(Unpacked(raw, 1)) is not first


def test_an_object_without_an_id_of_its_content_is_read_each_time() -> None:
    statuses, raw = LastStatuses(), {"status": {"phase": "Ready"}}
    statuses.of(raw)
    raw["status"]["phase"] = "Degraded"
    assert statuses.of(raw).phase == "Degraded"


def following(
    before: Json | None,
    delivery: Delivery = DONE,
    phase: Phase = Phase.READY,
    decision: Decision = SERVING,
    *,
    last: Applied | None = APPLIED,
    written: Applied | None = None,
    noted: Journal = QUIET,
    now: datetime = NOW,
    generation: int = 1,
    **seen: Any,
) -> Json:
    """The status after `before`; `written` is what is written in this reconcile in place of `last`."""
    found = observed(read_status({"status": before}), last, now=now, generation=generation, **seen)
    return status_json(
        next_status(
            found, Outcome(phase, decision, written or last, delivery, Course(), bool(written), noted, RECORDED)
        )
    )


def condition(status: Json, type_: str) -> Json:
    (found,) = (each for each in status["conditions"] if each["type"] == type_)
    return dict(found)


def rolling(before: Json | None, **more: Any) -> Json:
    return following(before, **({"delivery": BEHIND, "phase": Phase.ROLLING, "decision": ROLLING} | more))


# Writing


def test_a_status_says_what_is_served_and_by_whom() -> None:
    status = following(None, generation=7, backends={V2: Resolved(unready=3)})
    conditions = status.pop("conditions")
    assert status == {
        "observedGeneration": 7,
        "phase": "Ready",
        "reason": "Serving",
        "message": SERVING.message,
        "since": "2026-01-01T12:00:00.000Z",
        "rule": "everything_is_served",
        "revision": 3,
        "weights": [
            {"backend": "myapp-v1:http", "weight": 80, "ready": 2, "unready": 0},
            {"backend": "myapp-v2:9090", "weight": 20, "ready": 1, "unready": 3},
        ],
        "proxies": {
            "name": "myapp-split-haproxy",
            "replicas": 2,
            "ready": 0,
            "updated": 0,
            "strategy": "Live",
            "selector": "kanary.k8s.io/name=myapp-split",
        },
        "display": {"weights": "myapp-v1:http=80 myapp-v2:9090=20", "ready": "0/2"},
        "configHash": DIGEST,
    }
    about = {"observedGeneration": 7, "lastTransitionTime": "2026-01-01T12:00:00Z"}
    serving = {"reason": "Serving", "message": SERVING.message}
    assert conditions == [
        {"type": "Ready", "status": "True", **about, **serving},
        {"type": "Reconciling", "status": "False", **about, **serving},
        {"type": "Stalled", "status": "False", **about, **serving},
        {
            "type": "HistoryRecorded",
            "status": "True",
            **about,
            "reason": "Recorded",
            "message": "changes are written to the history database",
        },
    ]


def test_where_nothing_is_served_nothing_is_shown() -> None:
    waiting = Decision(None, Reason.BACKEND_NOT_FOUND, 'Service "myapp-v1" does not exist')
    status = following(None, Delivery(), Phase.PENDING, waiting, last=None)
    assert not {"proxies", "display", "configHash", "progressingSince", "split", "history"} & status.keys()
    assert (status["phase"], status["weights"], status["revision"]) == ("Pending", [], 0)


def test_the_revision_outlives_what_was_written() -> None:
    """After a deletion of the ConfigMap, the next weights are not revision 1 again."""
    assert following({"revision": 12}, last=None)["revision"] == 12


def test_weights_are_those_that_every_proxy_serves() -> None:
    half = applied(spec(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)]), revision=4, digest="b" * 24)
    first = following(None)
    begun = rolling(first, delivery=NEW_WEIGHTS, written=half)
    assert (begun["revision"], begun["weights"], begun["display"]["weights"]) == (
        4,
        first["weights"],
        first["display"]["weights"],
    )
    taken = rolling(begun, delivery=TAKEN, last=half)
    assert [route["weight"] for route in taken["weights"]] == [50, 50]
    assert taken["display"]["weights"] == "myapp-v1:http=50 myapp-v2:9090=50"


def test_weights_that_are_only_decided_on_leave_what_is_served_as_it_is() -> None:
    """The target differs, and nothing of it is written yet: the former configuration is what counts."""
    first = following(None)
    rendering = following(first, NEW_WEIGHTS, Phase.RENDERING, Decision(None, Reason.CONFIGURATION_CHANGED, "4"))
    assert (rendering["weights"], rendering["revision"]) == (first["weights"], 3)
    assert condition(rendering, "Reconciling")["status"] == "True"


def test_a_second_later_the_same_status_is_written() -> None:
    first = following(None)
    assert following(first, now=NOW + SECOND) == first
    stuck = rolling(None, decision=replace(ROLLING, trigger=None))
    assert rolling(stuck, decision=replace(ROLLING, trigger=None), now=NOW + SECOND) == stuck


def test_it_is_said_since_when_a_phase_and_its_reason_last() -> None:
    first = following(None)
    assert following(first, now=NOW + SECOND)["since"] == first["since"]
    assert rolling(first, now=NOW + SECOND)["since"] == "2026-01-01T12:00:01.000Z"
    assert following(first, now=NOW - SECOND)["since"] == "2026-01-01T11:59:59.000Z"


def test_the_history_is_not_recorded_as_long_as_it_lacks_entries() -> None:
    lost = following(None, noted=Journal(None, HistoryStatus(last=9, lost=4), None))
    reported = condition(lost, "HistoryRecorded")
    assert (reported["status"], reported["reason"], reported["message"]) == (
        "False",
        "EntriesLost",
        "4 entries were dropped before the history recorded them; changes are written to the history database",
    )


def test_thirty_changes_of_a_hundred_routes_leave_a_status_of_less_than_100_kb() -> None:
    """1.3 MB of status would be more than etcd takes for one object."""
    names = [f"{'v' * 59}-{number:03}" for number in range(MAX_ROUTES)]
    status: Json = {}
    before: Applied | None = None
    for revision in range(1, 31):
        weights = [[1] * 100, [2, 0] * 50][revision % 2]
        routes = [route(name, weight, "p" * 63) for name, weight in zip(names, weights, strict=True)]
        found = split(spec(routes=routes), revision, is_in_status=False)
        status = _decided(status, found, before)
        assert [entry["kind"] for entry in status["history"]["entries"]][-2:] == ["WeightChange", "PhaseChange"]
        assert len(json.dumps(status)) < 100_000
        before = applied(found.spec, revision=revision)
        status = following(status, last=before, noted=_as_noted(status))
    history = status["history"]
    assert history["lost"] == history["last"] - len(history["entries"]) > 0
    assert history["last"] == 89  # each change, the move, and how all but the last change ended


def _decided(before: Json, found: Split, last: Applied | None) -> Json:
    decision = Decision(Trigger.RENDER, Reason.CONFIGURATION_CHANGED, f"{found.text} is to be served")
    seen = observed(read_status({"status": before}), last)
    noted = journal(seen, found, decision, Course(), Phase.RENDERING, digest=DIGEST, recorded=0)
    return following(before, NEW_WEIGHTS, Phase.RENDERING, decision, last=last, noted=noted)


def _as_noted(status: Json) -> Journal:
    read = read_status({"status": status})
    return Journal(read.split, read.history, read.change_cause)


# Counts


def counted(*connections: int | None, before: KanaryStatus | None = None) -> KanaryStatus:
    """The status when each route has had so many connections since the weights changed; None is unknown."""
    routes = [RouteReport(since_change=count or 0) for count in connections]
    report = (
        Report(DIGEST, routes=dict(zip(map(str, (V1, V2)), routes, strict=True))) if None not in connections else None
    )
    status = read_status({"status": following(None, fleet=Fleet(None, (live("a", report),), NOW))})
    return with_former_details(status, before) if before else status


def shares(status: KanaryStatus) -> list[Decimal | None]:
    return [route.actual for route in status.weights]


def test_the_share_of_each_route_is_measured_since_the_weights_changed() -> None:
    assert shares(counted(799, 201)) == [Decimal("79.9"), Decimal("20.1")]
    assert shares(counted(7, 0)) == [100, 0]
    status = counted(2, 1)
    assert status.display and status.display.actual == "myapp-v1:http=66.7 myapp-v2:9090=33.3"


@pytest.mark.parametrize("connections", [(0, 0), (None, None)])
def test_without_connections_or_a_report_no_share_is_shown(connections: tuple[int | None, ...]) -> None:
    status = counted(*connections)
    assert shares(status) == [None, None]
    assert status.display and status.display.actual is None


@pytest.mark.parametrize(
    ("before", "now", "is_news"),
    [
        ((80, 20), (81, 20), False),
        ((80, 20), (160, 40), False),
        ((80, 20), (800, 200), True),
        ((80, 20), (82, 18), True),
        ((8200, 1800), (8210, 1801), False),
        ((82, 18), (81, 20), True),
        ((80, 20), (None, None), True),
        ((0, 0), (1, 0), True),
    ],
)
def test_shares_are_written_when_they_are_of_more_connections_or_leave_the_weights(
    before: tuple[int, int], now: tuple[int | None, ...], is_news: bool
) -> None:
    former = counted(*before)
    assert (counted(*now, before=former) != former) is is_news


# Weather


def test_a_status_that_differs_in_counts_alone_differs_by_the_weather() -> None:
    before = read_status({"status": following(None)})
    after = read_status({"status": following(None, backends={V2: Resolved(unready=3)}, now=NOW + SECOND)})
    assert before != after
    assert only_counts_differ(before, after)
    counted = before.proxies and before.proxies.model_copy(update={"updated": 1})
    assert only_counts_differ(before, before.model_copy(update={"proxies": counted, "config_hash": "b" * 24}))


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": "Rolling"},
        {"reason": "RollingOut"},
        {"observed_generation": 2},
        {"revision": 4},
        {"change_cause": "JIRA-12"},
        {"weights": ()},
        {"display": None},
        {"weights": [RouteStatus(backend="myapp-v1:http", weight=100)]},
        {"conditions": ()},
        {"history": HistoryStatus(last=1)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_anything_else_is_no_weather(changes: Json) -> None:
    before = read_status({"status": following(None)})
    assert not only_counts_differ(before, before.model_copy(update=changes))


def test_ready_lasts_while_pods_come_and_go() -> None:
    newer = replace(DONE, difference=Difference.ENDPOINTS, progress=Progress.SERVING)
    status = following(following(None), newer)
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "Reconciling")["status"] == "False"


# Reading


def test_a_status_is_read_as_it_was_written() -> None:
    status = following(rolling(None, noted=Journal(None, HistoryStatus(last=2), "why")))
    assert status_json(read_status({"status": status})) == status


@pytest.mark.parametrize("status", [None, "Ready", 5, [], [{}], True])
def test_a_status_that_is_no_object_is_as_good_as_none(status: Any) -> None:
    assert read_status({"status": status}) == read_status({}) == KanaryStatus()


def test_what_can_be_read_of_a_spoilt_status_is_kept() -> None:
    status = following(None) | {"revision": "x", "conditions": [{"type": "Ready"}], "proxies": 5}
    read = read_status({"status": status})
    assert (read.revision, read.conditions, read.proxies) == (0, (), None)
    assert (read.phase, read.observed_generation, len(read.weights)) == ("Ready", 1, 2)


def test_what_other_versions_wrote_is_ignored_but_for_what_happened() -> None:
    verdict = {"number": 4, "at": "2026-01-01T12:00:00.000Z", "kind": "Verdict", "p99": [1, 2]}
    read = read_status({"status": {"revision": 3, "steps": [1, 2], "history": {"last": 4, "entries": [verdict]}}})
    assert read.revision == 3
    assert read.history
    assert [entry_json(entry) for entry in read.history.entries] == [verdict]
    assert status_json(read)["history"]["entries"] == [verdict]


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_read(phase: Phase) -> None:
    assert read_phase(KanaryStatus(phase=phase.value)) is phase


@pytest.mark.parametrize("text", ["", "ready", "READY", "Done", "Ready\n"])
def test_an_unknown_phase_begins_again_in_pending(text: str) -> None:
    assert read_phase(KanaryStatus(phase=text)) is Phase.PENDING


def test_what_the_api_server_rejected_is_remembered() -> None:
    reported = KanaryStatus(phase="Degraded", reason="RejectedByCluster", message="quota")
    assert last_rejection(reported) == Problem(Reason.REJECTED_BY_CLUSTER, "quota")
    assert last_rejection(KanaryStatus(phase="Degraded", reason="NoReadyEndpoints", message="none")) is None


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


@settings(max_examples=60)
@given(_garbage | _spoilt, st.sampled_from(Phase), st.sampled_from([SERVING, ROLLING]))
def test_whatever_the_status_holds_the_next_one_is_whole(status: Any, phase: Phase, decision: Decision) -> None:
    seen = observed(read_status({"status": status}), APPLIED)
    noted = journal(seen, split(revision=3), decision, Course(), phase, digest=DIGEST, recorded=0)
    written = status_json(
        next_status(seen, Outcome(phase, decision, APPLIED, BEHIND, Course(), False, noted, RECORDED))
    )
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    again = read_status({"status": written})
    assert again.phase == phase.value
    assert again.progressing_since is not None
    assert [each.type for each in again.conditions] == ["Ready", "Reconciling", "Stalled", "HistoryRecorded"]
    assert status_json(again) == written


# Conditions


def kstatus_of(status: Json) -> str:
    return kstatus.computed({"metadata": {"generation": status["observedGeneration"]}, "status": status})


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("reason", Reason)
def test_pipelines_see_what_is_there_what_continues_and_what_a_person_has_to_change(
    phase: Phase, reason: Reason
) -> None:
    status = following(None, DONE, phase, Decision(None, reason, "why"))
    kstatus.check(status)
    expected = {Outlook.STALLED: kstatus.FAILED}.get(OUTLOOKS[reason], kstatus.IN_PROGRESS)
    assert kstatus_of(status) == (kstatus.CURRENT if phase is Phase.READY else expected)


@pytest.mark.parametrize(
    ("reason", "reconciling", "stalled"),
    [
        (Reason.ROLLING_OUT, "True", "False"),
        # The Service may be applied a moment later, by the same pipeline.
        (Reason.BACKEND_NOT_FOUND, "True", "False"),
        (Reason.INVALID_WEIGHTS, "False", "True"),
        (Reason.ROLLED_BACK, "False", "True"),
        (Reason.PAUSED, "False", "False"),
    ],
)
def test_a_reason_has_its_conditions(reason: Reason, reconciling: str, stalled: str) -> None:
    status = following(None, DONE, Phase.DEGRADED, Decision(None, reason, "why"))
    found = [condition(status, type_) for type_ in ("Reconciling", "Stalled")]
    assert [each["status"] for each in found] == [reconciling, stalled]
    assert {(each["reason"], each["message"]) for each in found} == {(reason.value, "why")}


def test_a_step_that_has_failed_is_doomed() -> None:
    assert {OUTLOOKS[reason] for reason in FAILURES} == {Outlook.STALLED}


def test_a_kanary_that_cannot_be_observed_is_not_current() -> None:
    status = read_status({"status": following(None)})
    unknown = status_json(with_defect(status, "why", NOW))
    assert kstatus_of(unknown) == kstatus.IN_PROGRESS


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = following(None)
    later = rolling(first, now=NOW + SECOND)
    last = following(later, BEHIND, Phase.DEGRADED, now=NOW + 2 * SECOND)
    assert [condition(status, "Ready")["lastTransitionTime"] for status in (first, later, last)] == [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:01Z",
        "2026-01-01T12:00:01Z",
    ]


# Since when


def test_progress_counts_from_when_the_proxies_fell_behind() -> None:
    first = rolling(None)
    later = rolling(first, now=NOW + 60 * SECOND)
    assert first["progressingSince"] == later["progressingSince"] == "2026-01-01T12:00:00.000Z"


def test_progress_counts_anew_from_a_new_spec() -> None:
    later = rolling(rolling(None), generation=2, now=NOW + 60 * SECOND)
    assert later["progressingSince"] == "2026-01-01T12:01:00.000Z"


def test_progress_counts_anew_from_a_change_after_the_last_one_arrived() -> None:
    begun = rolling(None)
    written = applied(revision=4)
    later = {"delivery": NEW_WEIGHTS, "written": written, "now": NOW + 60 * SECOND}
    assert rolling(begun, **later)["progressingSince"] == "2026-01-01T12:01:00.000Z"
    overtaken = later | {"delivery": replace(NEW_WEIGHTS, former=Progress.BEHIND)}
    assert rolling(begun, **overtaken)["progressingSince"] == begun["progressingSince"]


def test_progress_ends_when_all_proxies_serve() -> None:
    assert "progressingSince" not in following(rolling(None))


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.DEGRADED])
def test_while_the_user_is_awaited_no_progress_is_counted(phase: Phase) -> None:
    """A deadline that passed meanwhile would be reported as soon as the user is done."""
    assert "progressingSince" not in following({"observedGeneration": 1}, phase=phase, last=None)


@pytest.mark.parametrize("since", ["soon", "2026-01-01T12:00:00", "9999-12-31T23:59:59Z"])
def test_a_start_that_cannot_have_been_begins_now(since: str) -> None:
    before = {"observedGeneration": 1, "progressingSince": since}
    assert rolling(before)["progressingSince"] == "2026-01-01T12:00:00.000Z"
