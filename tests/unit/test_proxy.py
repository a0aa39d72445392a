"""One proxy: its pod as the cluster has it, and its agent's report."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from engine.fleet.proxy import read_proxy
from engine.fleet.reports import Report, RolledBack, RouteReport, read_report
from engine.render.objects import CONFIG_ANNOTATION
from states import UpdateStrategy
from states.evidence import Counts
from states.timing import ENDPOINTS_SETTLE, LISTEN_MARGIN, STATUS_INTERVAL
from tests.unit.kanaries import Json, json_values
from tests.unit.observations import DIGEST, OTHER
from tests.unit.proxies import LIVE, SECOND, TEMPLATE, live, live_pod, rolling, rolling_pod
from tests.unit.snapshots import NOW

LISTENS = ENDPOINTS_SETTLE + LISTEN_MARGIN


# Reports


def test_a_report_is_read_as_agents_write_it() -> None:
    raw = {
        "digest": DIGEST,
        "rejected": {"digest": OTHER, "message": "[ALERT] no\n good"},
        "draining": 2,
        "connections": 17,
        "maxConnections": 20_000,
        "full": True,
        "shortOfPorts": ["10.0.0.1:80", "10.0.0.2:80"],
        "problem": "",
    }
    expected = Report(DIGEST, OTHER, "[ALERT] no good", 2, 17, 20_000, is_full=True, short_of_ports="10.0.0.1:80")
    assert read_report(raw, NOW) == expected


ROUTE = {
    "up": 1,
    "down": 2,
    "ejected": 1,
    "unreachedSeconds": 3,
    "open": 3,
    "connections": 3_000_000_000,
    "unconnected": 4,
    "reset": 5,
    "retries": 6,
    "redispatches": 7,
    "servers": [
        {"address": "10.0.0.1:9000", "status": "DRAIN", "seconds": 1, "check": "L4OK", "text": "passed"},
        {"address": "10.0.0.3:9000", "status": "DOWN", "seconds": 1, "check": "L4TOUT", "text": "Layer4 timeout"},
        {"address": "10.0.0.2:9000", "status": "DOWN", "seconds": 1, "check": "L4CON", "text": "Connection\nrefused"},
    ],
}


def test_the_routes_of_a_report_are_read_as_agents_write_them() -> None:
    assert read_report({"digest": DIGEST, "routes": {"v1:http": ROUTE}}, NOW).routes == {
        "v1:http": RouteReport(
            up=1,
            down=2,
            ejected=1,
            unreached_since=NOW - 3 * SECOND,
            connections=3_000_000_000,
            failed=9,
            server="10.0.0.2:9000",
            line="DOWN L4CON Connection refused",
            reset=5,
        )
    }


def report_with(**changes: Any) -> Report:
    return read_report({"digest": DIGEST, "routes": {"v1:http": ROUTE | changes}}, NOW)


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({}, None),
        ({"open": 9, "connections": 3_000_000_001}, None),
        ({"connections": 6_000_000_000}, STATUS_INTERVAL),
        ({"reset": 500}, STATUS_INTERVAL),
        ({"up": 0, "down": 3}, STATUS_INTERVAL),
        ({"ejected": 0}, STATUS_INTERVAL),
        ({"unreachedSeconds": 5}, None),
        ({"unreachedSeconds": None}, timedelta()),
    ],
)
def test_counts_start_a_reconcile_only_when_they_have_doubled(changes: Json, after: timedelta | None) -> None:
    assert report_with(**changes).news_after(report_with()) == after


def watched(**routes: tuple[int, int]) -> Report:
    """A report of revision 7 with the connections and failures of these routes."""
    counts = {f"{name}:http": {"connections": all_, "failed": failed} for name, (all_, failed) in routes.items()}
    revisions = [{"revision": 7, "routes": counts}]
    return read_report({"digest": DIGEST, "ledger": "9f3a", "revisions": revisions}, NOW)


def test_the_revisions_of_a_report_are_read_as_agents_write_them() -> None:
    raw = {
        "ledger": "9f3a",
        "revisions": [
            {"revision": 8, "routes": {}},
            {"revision": 7, "routes": {"v1:http": {"connections": 900, "failed": 1}}},
        ],
    }
    report = read_report(raw, NOW)
    assert (report.ledger, report.revisions) == ("9f3a", {8: {}, 7: {"v1:http": Counts(900, 1)}})


@pytest.mark.parametrize(
    ("report", "after"),
    [
        (watched(v1=(9, 1), v2=(1, 0)), None),
        (watched(v1=(18, 1), v2=(2, 0)), STATUS_INTERVAL),
        (watched(v1=(9, 1), v2=(1, 1)), timedelta()),
        (watched(v1=(9, 1), v2=(1, 0), v3=(1, 1)), timedelta()),
        (report_with(), STATUS_INTERVAL),
    ],
)
def test_a_failure_in_a_watched_revision_starts_a_reconcile_at_once(report: Report, after: timedelta | None) -> None:
    former = watched(v1=(9, 1), v2=(1, 0))
    assert replace(report, routes=former.routes).news_after(former) == after


COUNTED = {"connections": 10, "failed": 8}
ROLLED_BACK = {"secondsAgo": 60, "revision": 7, "canary": "v2:http", "own": COUNTED, "others": COUNTED, "chance": 1e-6}


def test_a_rollback_of_a_proxy_by_itself_is_read_as_agents_write_it_and_starts_a_reconcile() -> None:
    report = read_report({"digest": DIGEST, "rolledBack": ROLLED_BACK}, NOW)
    counts = Counts(10, 8)
    assert report.rolled_back == RolledBack(7, "v2:http", counts, counts, 1e-6, NOW - timedelta(seconds=60))
    former = read_report({"digest": DIGEST, "rolledBack": None}, NOW)
    assert report.news_after(former) == timedelta()
    later = read_report({"digest": DIGEST, "rolledBack": ROLLED_BACK | {"secondsAgo": 61}}, NOW)
    assert later.news_after(report) is None


def test_what_a_report_leaves_out_is_nothing() -> None:
    assert read_report({"digest": DIGEST, "rejected": None}, NOW) == Report(DIGEST)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"routes": []},
        {"routes": {"v1:http": 7}},
        {"routes": {"v1:http": {"up": -1}}},
        {"routes": {"v1:http": {"unreachedSeconds": 2**31}}},
        {"routes": {"v1:http": {"servers": [{"status": "DOWN", "address": 7}]}}},
        {"routes": {f"v{number}:http": {} for number in range(101)}},
        "x",
        {"digest": 7},
        {"rejected": "x"},
        {"rejected": {"message": []}},
        {"draining": -1},
        {"draining": True},
        {"time": 2**32},
        {"time": "noon"},
        {"rolledBack": 7},
        {"rolledBack": ROLLED_BACK | {"chance": 0.0}},
        {"rolledBack": ROLLED_BACK | {"chance": 5e-324}},
        {"rolledBack": ROLLED_BACK | {"chance": "1"}},
        {"rolledBack": ROLLED_BACK | {"own": 7}},
        {"rolledBack": ROLLED_BACK | {"secondsAgo": -1}},
        {"ledger": 7},
        {"revisions": [{"revision": 7, "routes": {}}]},
        {"revisions": {}},
        {"revisions": [{}] * 4},
        {"revisions": [7]},
        {"revisions": [{"revision": 7}]},
        {"revisions": [{"revision": -1, "routes": {}}]},
        {"revisions": [{"revision": 7, "routes": {"v1:http": 7}}]},
        {"revisions": [{"revision": 7, "routes": {"v1:http": {"connections": 2**53}}}]},
        {"revisions": [{"revision": 7, "routes": {f"v{number}:http": {} for number in range(101)}}]},
    ],
)
def test_what_is_no_report_is_rejected(raw: Any) -> None:
    with pytest.raises(ValueError, match="is"):
        read_report(raw, NOW)


def test_more_failures_than_connections_are_rejected() -> None:
    with pytest.raises(ValueError, match="2 of 1 connections failed"):
        watched(v1=(1, 2))


@given(json_values)
def test_whatever_is_read_is_of_bounded_length(raw: Any) -> None:
    try:
        report = read_report(raw, NOW)
    except ValueError:
        return
    assert len(report.digest) + len(report.rejection) + len(report.problem) + len(report.ledger) <= 1232


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_report_says_how_far_the_clock_of_its_node_is_ahead(hours: int) -> None:
    raw = {"digest": DIGEST, "time": int((NOW + timedelta(hours=hours)).timestamp()), "routes": {"v1:http": ROUTE}}
    report = read_report(raw, NOW)
    assert report.clock_error == timedelta(hours=hours)
    # What the report has durations of does not depend on it.
    assert report.routes["v1:http"].unreached_since == NOW - 3 * SECOND


# Pods


def test_a_proxy_is_read_from_its_pod_and_its_report() -> None:
    proxy = live("x-7", Report(DIGEST, draining=2), node="node-a")
    assert (proxy.name, proxy.node, proxy.address, proxy.template) == ("x-7", "node-a", "10.0.0.1", TEMPLATE)
    assert (proxy.serves, proxy.is_ready) == (DIGEST, True)
    assert (proxy.strategy, proxy.report) == (UpdateStrategy.LIVE, Report(DIGEST, draining=2))


def test_a_proxy_that_is_replaced_serves_what_its_template_says_whoever_reports_for_it() -> None:
    proxy = read_proxy(rolling_pod(digest=OTHER), Report(DIGEST))
    assert (proxy.serves, proxy.strategy, proxy.report) == (OTHER, UpdateStrategy.ROLLING, None)


def test_what_a_proxy_with_an_agent_serves_only_the_agent_says() -> None:
    marked = live_pod()
    marked["metadata"]["annotations"][CONFIG_ANNOTATION] = DIGEST
    assert read_proxy(marked, None).serves == ""
    assert read_proxy(marked, Report("")).serves == ""


@pytest.mark.parametrize(
    "bare",
    [
        {"metadata": {"name": "x"}},
        {"metadata": {"name": "x", "annotations": None}, "spec": None, "status": {"conditions": None}},
        {"metadata": {"name": "x", "annotations": LIVE}, "status": {"containerStatuses": None}},
    ],
)
def test_a_pod_of_which_nothing_is_known_is_not_ready_and_has_no_agent(bare: Json) -> None:
    proxy = read_proxy(bare, None)
    assert (proxy.serves, proxy.is_ready, proxy.trouble, proxy.node) == ("", False, "", "")
    assert not read_proxy(bare, None).has_reachable_agent


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (live_pod(), True),
        (live_pod(ready=False), True),
        (live_pod(stopped=NOW), False),
        (live_pod(phase="Failed"), False),
        (rolling_pod(), False),
        (live_pod() | {"status": {}}, False),
    ],
    ids=["running", "not ready", "stopping", "ended", "without an agent", "without an address"],
)
def test_only_a_running_pod_with_an_agent_can_report(pod: Json, expected: bool) -> None:
    assert read_proxy(pod, None).has_reachable_agent is expected


# How long it listens


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (rolling_pod(), None),
        (rolling_pod(ready=False), timedelta()),
        (rolling_pod(phase="Failed"), timedelta()),
        (rolling_pod(phase="Succeeded", stopped=NOW), timedelta()),
        (rolling_pod(stopped=NOW), LISTENS),
        (rolling_pod(stopped=NOW - SECOND), LISTENS - SECOND),
        (rolling_pod(stopped=NOW - SECOND, ready=False), LISTENS - SECOND),
        (rolling_pod(stopped=NOW - LISTENS), timedelta()),
    ],
    ids=[
        "ready",
        "not ready",
        "evicted",
        "ended",
        "stopping now",
        "a second ago",
        "stopping and unready",
        "long enough ago",
    ],
)
def test_a_proxy_listens_until_every_node_knows_that_it_stops(pod: Json, expected: timedelta | None) -> None:
    """A pod that was evicted stays as Failed, and may stay for days."""
    assert read_proxy(pod, None).listens_for(NOW) == expected


# Trouble

BACK_OFF = {"reason": "CrashLoopBackOff", "message": "back-off"}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available",
}
LOG = "[NOTICE] haproxy version is 3.0\n[ALERT] (1) : cannot bind socket\n[WARNING] bye"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"waiting": {"reason": "ContainerCreating"}}, ""),
        ({"waiting": {"reason": "PodInitializing"}}, ""),
        ({}, ""),
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": "no such image: haproxy:9"}},
            "pod x-1: ImagePullBackOff: no such image: haproxy:9",
        ),
        ({"waiting": {"reason": "ErrImagePull"}}, "pod x-1: ErrImagePull"),
        (
            {"waiting": BACK_OFF, "ended": {"exitCode": 1}},
            "pod x-1: CrashLoopBackOff: back-off (its last exit code was 1)",
        ),
        (
            {"waiting": BACK_OFF, "ended": {"exitCode": 137, "reason": "OOMKilled"}},
            "pod x-1: CrashLoopBackOff: back-off (its last exit code was 137, OOMKilled)",
        ),
        (
            {"waiting": BACK_OFF, "ended": {"exitCode": 1, "reason": "Error", "message": LOG}},
            "pod x-1: CrashLoopBackOff: back-off (its last exit code was 1: [ALERT] (1) : cannot bind socket)",
        ),
        ({"conditions": (UNSCHEDULABLE,)}, "pod x-1: Unschedulable: 0/3 nodes are available"),
        (
            {"waiting": {"reason": "RunContainerError", "message": "failed:\n  exec haproxy\n  no such file\n"}},
            "pod x-1: RunContainerError: failed: exec haproxy no such file",
        ),
        ({"ready": True, "waiting": {"reason": "ImagePullBackOff"}}, ""),
    ],
)
def test_what_keeps_a_proxy_from_being_ready_is_reported_in_the_clusters_words(changes: Json, text: str) -> None:
    assert rolling(**({"ready": False} | changes)).trouble == text


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ({"reason": "OOMKilled", "finishedAt": "2026-01-01T12:00:00Z"}, ("haproxy", NOW)),
        ({"reason": "OOMKilled", "finishedAt": "garbage"}, None),
        ({"reason": "Error", "finishedAt": "2026-01-01T12:00:00Z"}, None),
        (None, None),
    ],
)
def test_a_container_that_was_killed_for_lack_of_memory_is_named(ended: Json | None, expected: Any) -> None:
    assert rolling(ended=ended).out_of_memory == expected
