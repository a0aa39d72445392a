"""What agents report, and what it means for the pods beside them."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from engine.asking import REFRESH_INTERVAL, REPORT_LIMIT, request
from engine.reports import (
    Report,
    as_reported,
    can_be_asked,
    overdue,
    problem,
    read_report,
    refreshes,
    refusal,
    reload_spacing,
    short_of_connections,
    unreported,
)
from hypothesis import given

from engine.model.times import exact_time_text
from engine.render.objects import CONFIG_ANNOTATION, REFRESH_ANNOTATION, STRATEGY_ANNOTATION
from tests.unit.kanaries import json_values
from tests.unit.snapshots import NOW

Json = dict[str, Any]
DIGEST, OTHER = "a" * 16, "b" * 16
SERVING = Report(DIGEST, max_connections=100)
READY_SINCE = (NOW - timedelta(minutes=1)).isoformat()


def pod(name: str = "x-1", *, serves: str = "", ready: bool = True, **more: Any) -> Json:
    annotations = {STRATEGY_ANNOTATION: "Live", **({CONFIG_ANNOTATION: serves} if serves else {})}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": READY_SINCE}
    return {
        "metadata": {"name": name, "annotations": annotations, **more},
        "status": {"podIP": "10.0.0.1", "conditions": [condition]},
    }


STOPPING = pod(deletionTimestamp="2026-01-01T12:00:00Z")
EVICTED = {**pod(), "status": {**pod()["status"], "phase": "Failed"}}
WITHOUT_AGENT = {
    "metadata": {"name": "x-1", "annotations": {CONFIG_ANNOTATION: DIGEST}},
    "status": {"podIP": "10.0.0.1"},
}


# Reading


def test_a_report_is_read_as_agents_write_it() -> None:
    raw = {
        "digest": DIGEST,
        "refused": {"digest": OTHER, "message": "[ALERT] no\n good"},
        "draining": 2,
        "connections": 17,
        "maxConnections": 20_000,
        "problem": "",
    }
    assert read_report(raw) == Report(DIGEST, OTHER, "[ALERT] no good", 2, 17, 20_000, "")


def test_what_a_report_leaves_out_is_nothing() -> None:
    assert read_report({"digest": DIGEST, "refused": None}) == Report(DIGEST)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "x",
        {"digest": 7},
        {"refused": "x"},
        {"refused": {"message": []}},
        {"draining": -1},
        {"draining": True},
    ],
)
def test_what_is_no_report_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match="is"):
        read_report(raw)


@given(json_values)
def test_whatever_is_read_is_of_bounded_length(raw: Any) -> None:
    try:
        report = read_report(raw)
    except ValueError:
        return
    assert len(report.digest) + len(report.refusal) + len(report.problem) <= 1200


# Marking


@pytest.mark.parametrize(
    ("found", "expected"),
    [(pod(), True), (STOPPING, False), (EVICTED, False), (WITHOUT_AGENT, False), ({**pod(), "status": {}}, False)],
    ids=["running", "stopping", "ended", "without an agent", "without an address"],
)
def test_only_a_running_pod_with_an_agent_is_asked(found: Json, expected: bool) -> None:
    assert can_be_asked(found) is expected


def test_a_report_overrules_what_was_noted_and_silence_does_not() -> None:
    pods = [pod("x-1", serves=OTHER), pod("x-2", serves=OTHER), pod("x-3", serves=OTHER)]
    marked = as_reported(pods, {"x-1": SERVING, "x-2": Report("")})
    assert [p["metadata"]["annotations"][CONFIG_ANNOTATION] for p in marked] == [DIGEST, "", OTHER]
    assert [p["metadata"]["annotations"][CONFIG_ANNOTATION] for p in pods] == [OTHER] * 3


def test_a_pod_without_an_agent_is_what_its_template_says_whoever_reports_for_it() -> None:
    assert as_reported([WITHOUT_AGENT], {"x-1": Report(OTHER)}) == [WITHOUT_AGENT]


# Refreshing


def wanted(found: Json, report: Report | None, now: datetime = NOW) -> Json:
    reports = {"x-1": report} if report else {}
    return dict(next((annotations for _, annotations in refreshes([found], reports, DIGEST, now)), {}))


def test_a_pod_that_serves_something_else_is_to_see_what_is_new() -> None:
    asked = {REFRESH_ANNOTATION: request(pod(), DIGEST, NOW)}
    assert wanted(pod(), Report(OTHER)) == wanted(pod(), None) == asked


def test_it_is_told_again_when_nothing_has_come_of_it() -> None:
    told = pod()
    told["metadata"]["annotations"] |= wanted(told, Report(OTHER))
    assert wanted(told, Report(OTHER)) == {}
    assert wanted(told, Report(OTHER), NOW + REFRESH_INTERVAL).keys() == {REFRESH_ANNOTATION}


def test_a_pod_whose_haproxy_refuses_it_is_not_told_again() -> None:
    assert wanted(pod(), Report(OTHER, refused_digest=DIGEST), NOW + timedelta(hours=1)) == {}
    assert wanted(pod(), Report(OTHER, refused_digest=OTHER)) != {}


def test_what_a_pod_reports_to_serve_is_noted_once() -> None:
    assert wanted(pod(), SERVING) == {CONFIG_ANNOTATION: DIGEST}
    assert wanted(pod(serves=DIGEST), SERVING) == {}


def test_a_pod_that_has_served_it_and_is_silent_is_left_alone() -> None:
    assert wanted(pod(serves=DIGEST), None) == {}


@pytest.mark.parametrize("found", [STOPPING, EVICTED, WITHOUT_AGENT])
def test_a_pod_that_cannot_be_asked_is_not_annotated(found: Json) -> None:
    assert wanted(found, None) == {}


# Being late


def late(found: Json, report: Report | None, after: timedelta = REPORT_LIMIT) -> list[str]:
    """Who is overdue so long after it was first asked, and 3 s after it was asked last."""
    reports = {"x-1": report} if report else {}
    last = exact_time_text(NOW + after - timedelta(seconds=3))
    asked = {**found["metadata"]["annotations"], REFRESH_ANNOTATION: f"{DIGEST} {exact_time_text(NOW)} {last}"}
    found = {**found, "metadata": {**found["metadata"], "annotations": asked}}
    return overdue(as_reported([found], reports), reports, DIGEST, NOW + after)


def test_a_proxy_is_overdue_when_it_does_not_serve_in_time() -> None:
    assert late(pod(), Report(OTHER), REPORT_LIMIT - timedelta(seconds=1)) == []
    assert late(pod(), Report(OTHER)) == ["x-1"]
    assert late(pod(), None) == ["x-1"]


@pytest.mark.parametrize(
    ("found", "report"),
    [
        pytest.param(pod(), SERVING, id="it serves"),
        pytest.param(pod(serves=DIGEST), None, id="it has served, and is silent"),
        pytest.param(pod(ready=False), None, id="it is not ready"),
        pytest.param(STOPPING, None, id="it stops"),
        pytest.param(EVICTED, None, id="it has ended"),
        pytest.param(WITHOUT_AGENT, None, id="it has no agent"),
        pytest.param(pod(), Report(OTHER, refused_digest=DIGEST), id="its HAProxy refuses"),
    ],
)
def test_otherwise_it_is_not(found: Json, report: Report | None) -> None:
    assert late(found, report, timedelta(hours=1)) == []


def test_ready_proxies_with_another_configuration_have_not_reported() -> None:
    assert unreported([pod(serves=OTHER), pod(serves=DIGEST), pod(ready=False), WITHOUT_AGENT], DIGEST) == [
        pod(serves=OTHER)
    ]


# What else they say


def test_a_refusal_is_told_of_the_configuration_that_is_wanted_and_of_no_other() -> None:
    refused = Report(OTHER, refused_digest=DIGEST, refusal="[ALERT] no")
    assert refusal({"x-1": refused}, DIGEST) == "HAProxy of pod x-1 refuses the configuration: [ALERT] no"
    assert refusal({"x-1": refused}, OTHER) == ""


def test_a_problem_counts_while_the_configuration_is_not_served() -> None:
    reports = {"x-1": Report(OTHER, problem="no reload: out of memory")}
    assert problem(reports, DIGEST) == "pod x-1: no reload: out of memory"
    assert problem(reports, OTHER) == ""


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (Report(DIGEST, connections=5, max_connections=100), ""),
        (Report(DIGEST, connections=5, max_connections=99), "can hold 99 connections of the 100"),
        (Report(DIGEST, connections=100, max_connections=100), "holds 100 connections, all that it can"),
        (Report(OTHER, connections=99, max_connections=99), ""),
        (Report(DIGEST), ""),
    ],
    ids=["room", "less than promised", "full", "another configuration", "unknown"],
)
def test_a_proxy_without_room_is_told(report: Report, told: str) -> None:
    assert told in short_of_connections({"x-1": report}, DIGEST, 100)
    assert bool(told) is bool(short_of_connections({"x-1": report}, DIGEST, 100))


def test_a_proxy_that_was_asked_for_nothing_is_not_short_of_it() -> None:
    assert short_of_connections({"x-1": Report(DIGEST, max_connections=99)}, DIGEST, None) == ""
    full = Report(DIGEST, connections=99, max_connections=99)
    assert "holds 99 connections" in short_of_connections({"x-1": full}, DIGEST, None)


def test_the_more_processes_drain_the_longer_the_next_reload_waits() -> None:
    def wait(draining: int, after: float = 0) -> timedelta | None:
        reports = {"x-1": Report(DIGEST, draining=draining), "x-2": Report(DIGEST)}
        return reload_spacing(reports, NOW, NOW + timedelta(seconds=after))

    assert wait(0) is None
    assert wait(4) == timedelta(seconds=1)
    assert wait(4, after=0.5) == timedelta(seconds=0.5)
    assert wait(4, after=1) is None
    assert wait(1000) == timedelta(seconds=5)


def test_what_a_clock_that_is_ahead_has_written_makes_no_reload_wait() -> None:
    reports = {"x-1": Report(DIGEST, draining=1000)}
    assert reload_spacing(reports, NOW + timedelta(hours=1), NOW) is None
