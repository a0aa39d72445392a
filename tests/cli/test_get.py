"""`kanary get` with the API server for tests, and proxies' agents to which it forwards ports."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console

from engine.fleet.proxy import read_proxy
from kanary.cli import proxies
from kanary.cli.console import text_of
from kanary.cli.signs import GOOD, WARNING, Sign
from kanary.cli.tree import TreeStyle
from kanary.cli.view import KanaryView, RouteView
from kanary.kube.client import Timeouts
from tests.apiserver import Fault
from tests.cli.conftest import Kanary
from tests.cli.stage import Json, Stage, agent, failure, report, rollout
from tests.unit.kanaries import OWNER
from tests.unit.observations import DIGEST, NEWER, OTHER
from tests.unit.proxies import live_pod, rolling_pod
from tests.unit.snapshots import NOW


def row(text: str, name: str) -> list[str]:
    """The cells of the row with this name."""
    rows = [line.split() for line in text.splitlines()]
    # Before the name there are only guides and a sign.
    return next(cells[cells.index(name) + 1 :] for cells in rows if name in cells[:5])


def test_phase_routes_and_failures_are_shown(stage: Stage) -> None:
    refused = failure(server="10.0.1.1:9000", cause="refused or unreachable: 21 attempts within 12 ms")
    stage.proxy("x-1", report({"myapp-v1:http": [failure(120)], "myapp-v2:9090": [refused]}, sinceChange=5))
    stage.proxy("x-2", report({"myapp-v1:http": [failure(60, client="10.9.9.8:4001")]}, sinceChange=10))
    printed = stage.get()
    assert (printed.code, printed.err) == (0, "")
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"✔ {OWNER.namespace}/{OWNER.name}: Ready (Serving) since ")
    assert "12:00:00 (" in lines[0]
    assert lines[1] == "2 of 2 proxies serve revision 3"
    assert row(printed.out, "Routes") == [
        *("WEIGHT", "ACTUAL", "READY", "UP", "EJECTED", "DOWN", "CONNECTIONS", "FAILED")
    ]
    assert row(printed.out, "myapp-v1:http") == ["80", "60", "2/2", "2", "0", "0", "14", "4"]
    assert row(printed.out, "myapp-v2:9090") == ["20", "40", "1/3", "0", "0", "1", "10", "10"]
    failures = [line for line in lines if "failed at" in line]
    assert [line.partition("; ")[2] for line in failures] == [
        "v1-a (10.0.0.1:8080), client 10.9.9.8:4001",
        "v1-a (10.0.0.1:8080), client 10.9.9.9:4000",
        "10.0.1.1:9000, client 10.9.9.9:4000",
    ]
    assert "refused or unreachable: 21 attempts" in failures[2]


def test_json_and_yaml_have_the_failures_of_every_proxy_newest_first(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(n + 1) for n in range(5)]}))
    stage.proxy("x-2", report({"myapp-v1:http": [failure(n + 0.5) for n in range(5)]}, connections=0))
    found, other = stage.document(), yaml.safe_load(stage.get("-o", "yaml").out)
    failures = found["routes"][0]["failures"]
    assert [each["proxy"] for each in failures] == ["x-2", "x-1"] * 5
    times = [datetime.fromisoformat(each.pop("time")) for each in failures]
    assert [round((times[0] - time).total_seconds()) for time in times[::2]] == [0, 1, 2, 3, 4]
    assert abs((datetime.now(UTC) - times[0]).total_seconds()) < 60
    for each in other["routes"][0]["failures"]:
        # Calculated from the moment of the reading.
        del each["time"]
    del found["readAt"], other["readAt"]
    assert found == other
    assert failures[0] == {
        "server": "10.0.0.1:8080",
        "client": "10.9.9.9:4000",
        "cause": "reset after 12 ms, 0 bytes sent to the client",
        "pod": "v1-a",
        "proxy": "x-2",
    }
    assert [(each["name"], each["node"], each["ready"], each["connections"]) for each in found["proxies"]] == [
        ("x-1", "node-of-x-1", True, 3),
        ("x-2", "node-of-x-2", True, 0),
    ]
    assert found["unknown"] == []


# The rollout


def test_a_rollout_is_shown_with_its_step_its_evidence_and_the_last_good_weights(stage: Stage) -> None:
    stage.status(phase="Rolling", reason="StepWatched", rollout=rollout())
    printed = stage.get().out
    assert "Rollout 3, step 2/4 10%: Watching (StepWatched) since " in printed
    assert re.search(r"Until .*12:10:00 at the latest \(now\)", printed)
    assert "Last verdict: 7 of 900 connections to myapp-v2:9090 failed" in printed
    assert "Last good weights: myapp-v1:http=100" in printed
    evidence = printed[printed.index("Step 2/4 10%") :]
    assert row(evidence, "Step") == ["2/4", "10%", "WEIGHT", "CONNECTIONS", "FAILED"]
    assert row(evidence, "myapp-v1:http") == ["90", "8104", "0"]
    assert row(evidence, "myapp-v2:9090") == ["10", "900", "7", "(0.78", "%)"]


@pytest.mark.parametrize("state", ["RolledBack", "Completed"])
def test_a_rollout_that_has_ended_needs_no_more_connections(stage: Stage, state: str) -> None:
    verdict = "0 of 90 connections to myapp-v2:9090 failed; about 460 more connections are needed"
    stage.status(rollout=rollout(state=state, message="aborted by jane", verdict=verdict, until=None))
    assert "are needed" not in stage.get().out


def test_of_a_kanary_without_rollout_no_former_one_is_shown(stage: Stage) -> None:
    """The status keeps its number only."""
    stage.status(rollout={"number": 5, "state": "Completed"})
    assert "Rollout" not in stage.get().out


def test_what_the_message_of_the_kanary_says_is_not_repeated(stage: Stage) -> None:
    message = "step 2/4 failed: 7 of 900 connections to myapp-v2:9090 failed"
    stage.status(message=f"{message}: myapp-v1:http=100", rollout=rollout(message=message, until=None))
    printed = stage.get().out
    assert printed.count("7 of 900") == 1
    assert "at the latest" not in printed


def test_connections_that_do_not_count_are_reported(stage: Stage) -> None:
    evidence = [{"step": 2, "revision": 5, "tally": {"routes": {}, "leftOut": 12}}]
    stage.status(rollout=rollout(evidence=evidence))
    assert "12 connections of this step do not count: they were not split by its weights" in stage.get().out


def test_a_rollout_that_is_complete_has_one_paragraph(stage: Stage) -> None:
    stage.status(
        rollout=rollout(state="Completed", reason="RolloutCompleted", message="rollout 3 is complete", until=None)
    )
    printed = stage.get().out
    assert "Rollout 3, step 2/4 10%: Completed (RolloutCompleted) since " in printed
    assert "Last good weights" not in printed
    assert "Step 2/4" not in printed


@pytest.mark.parametrize("found", [None, rollout(number=0, state="Completed")])
def test_a_kanary_that_has_had_no_rollout_shows_none(stage: Stage, found: Json | None) -> None:
    stage.status(**{"rollout": found} if found else {})
    assert "Rollout" not in stage.get().out


def test_json_has_the_whole_rollout(stage: Stage) -> None:
    assert stage.document()["rollout"] is None
    stage.status(rollout=rollout())
    found = stage.document()["rollout"]
    lists = ("good", "start", "goal", "evidence")
    assert {key: found[key] for key in rollout()} == rollout() | {key: found[key] for key in lists}
    assert [[each["weight"] for each in found[key]] for key in lists[:3]] == [[100, 0], [100, 0], [0, 100]]
    assert found["evidence"][1]["tally"]["routes"]["myapp-v2:9090"] == {"weight": 10, "connections": 900, "failed": 7}


# Proxies


def test_a_pod_that_the_configuration_has_no_more_is_shown_by_its_address(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(server="10.0.0.9:8080"), failure(server="")]}))
    assert [each["pod"] for each in stage.document()["routes"][0]["failures"]] == [None, None]
    failures = [line.partition("; ")[2] for line in stage.get().out.splitlines() if "failed at" in line]
    assert failures == ["10.0.0.9:8080, client 10.9.9.9:4000", "client 10.9.9.9:4000"]


def test_the_pods_of_servers_are_left_out_if_the_configuration_cannot_be_read(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure()]}))
    stage.server.faults.add(Fault.status(403, "GET", "/configmaps/"))
    (shown,) = stage.document()["routes"][0]["failures"]
    assert (shown["pod"], shown["server"]) == (None, "10.0.0.1:8080")


def test_a_proxy_that_cannot_be_read_is_named_and_the_rest_is_shown(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure()]}))
    stage.pod(live_pod("x-2"))
    printed = stage.get()
    assert printed.code == 0
    assert "v1-a (10.0.0.1:8080)" in printed.out
    assert "the report of x-2 is unknown: its agent does not take connections: connection refused\n" in printed.out
    assert row(printed.out, "x-2") == ["-", "-", "yes", "-", "-"]
    # Without one of the proxies the counts are those of the status, as the operator had them from all.
    assert row(printed.out, "myapp-v1:http") == ["80", "-", "2/2", "1", "-", "-", "4", "1"]


def test_the_report_of_a_proxy_that_stops_is_not_missed() -> None:
    """Its agent ends before HAProxy."""
    refused = "its agent does not take connections: connection refused"
    readings = [
        proxies.Reading(read_proxy(live_pod(name, stopped=stopped), None), NOW, refused)
        for name, stopped in (("x-1", None), ("x-2", NOW))
    ]
    assert proxies.unread(readings) == {refused: ["x-1"]}


def test_a_reader_without_the_right_to_forward_learns_which_one(stage: Stage) -> None:
    for name in ("x-1", "x-2", "x-3"):
        stage.proxy(name, report())
    stage.server.faults.add(Fault.status(403, path="/portforward"))
    printed = stage.get()
    assert printed.code == 0
    (line,) = [line for line in printed.out.splitlines() if "portforward" in line]
    assert "the report of x-1, x-2 and x-3 is unknown: permission denied" in line
    assert f"cannot create pods/portforward in namespace {OWNER.namespace}" in line
    assert f"ask for the ClusterRole kanary-edit in namespace {OWNER.namespace}" in line


def test_with_rolling_it_says_where_failures_are_counted(stage: Stage) -> None:
    stage.pod(rolling_pod("x-1"))
    printed = stage.get()
    assert printed.code == 0
    assert "the report of x-1 is unknown: with Rolling no agent records them" in printed.out
    assert "port 8404" in printed.out


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"no json",
        b"",
        b"[" * 100_000,
        json.dumps(report(connections=-1)).encode(),
        json.dumps(report({"myapp-v1:http": [{"secondsAgo": 1}]})).encode(),
        json.dumps(report({"myapp-v1:http": [failure(1e300)]})).encode(),
    ],
)
def test_a_hostile_proxy_spoils_nothing_else(stage: Stage, content: bytes) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure()]}))
    stage.proxy("x-2", content)
    printed = stage.get()
    assert printed.code == 0
    assert "v1-a (10.0.0.1:8080)" in printed.out
    assert "the report of x-2 is unknown: the report of its agent is invalid" in printed.out


def test_what_a_proxy_reports_moves_no_cursor(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(cause="\x1b[2J\nall is well")]}))
    assert "\\x1b[2J all is well" in stage.get().out


def test_a_proxy_that_does_not_answer_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "_TIMEOUTS", Timeouts(connect=5.0, read=0.2))
    ended = threading.Event()

    def hang() -> bytes:
        ended.wait(30)
        return b""

    with agent(hang) as port:
        stage.pod(live_pod("x-1"), port)
        began = time.monotonic()
        printed = stage.get()
        ended.set()
    assert (printed.code, time.monotonic() - began < 10) == (0, True)
    assert "the report of x-1 is unknown: its agent cannot be reached" in printed.out


def test_proxies_that_have_ended_are_left_out(stage: Stage) -> None:
    stage.proxy("x-1", report())
    stage.pod(live_pod("x-2", phase="Failed", ready=False))
    assert [proxy["name"] for proxy in stage.document()["proxies"]] == ["x-1"]


def test_pods_that_cannot_be_listed_are_named(stage: Stage) -> None:
    stage.server.faults.add(Fault.status(403, "GET", "/pods"))
    printed = stage.get()
    assert printed.code == 0
    assert f"the pods of namespace {OWNER.namespace} cannot be listed" in printed.out
    assert printed.out.startswith(f"✔ {OWNER.namespace}/{OWNER.name}: Ready")


def test_a_kanary_without_a_status_or_with_an_older_one_says_how_to_find_the_operator(stage: Stage) -> None:
    stage.status(observedGeneration=0)
    assert "generation 0 of the spec, which is at 1 by now: see whether the operator runs: kubectl" in stage.get().out
    stage.server.store.put(stage.written)
    printed = stage.get()
    assert (printed.code, printed.out.splitlines()[0]) == (0, f"? {OWNER.namespace}/{OWNER.name}: no status yet")
    assert "the operator has not written a status yet: see whether the operator runs: kubectl" in printed.out


def test_an_unknown_kanary_lists_the_nearest_names(stage: Stage) -> None:
    printed = stage.get(name=f"{OWNER.name}s")
    assert (printed.code, printed.out) == (1, "")
    missing = f"there is no Kanary {OWNER.name}s in namespace {OWNER.namespace}"
    assert missing in printed.err
    assert printed.err.endswith(f"it has {OWNER.name}\n")


def test_in_a_namespace_without_kanaries_the_option_for_another_one_is_named(stage: Stage) -> None:
    printed = stage.get(namespace="empty")
    assert (printed.code, printed.out) == (1, "")
    assert "it has none: name its namespace with -n (kanary list -A shows all)\n" in printed.err


def test_a_cluster_that_is_not_there_is_an_error(kanary: Kanary) -> None:
    printed = kanary("get", "web", "--kubeconfig", "/nowhere")
    assert (printed.code, printed.out) == (1, "")
    assert "kubeconfig /nowhere does not exist: name a file that does" in printed.err


@pytest.mark.parametrize(
    ("arguments", "named"), [(["No_Name"], "No_Name"), (["web", "-o", "xml"], "xml"), ([], "NAME")]
)
def test_wrong_usage_names_the_value(kanary: Kanary, arguments: list[str], named: str) -> None:
    printed = kanary("get", *arguments)
    assert (printed.code, printed.out) == (2, "")
    assert named in printed.err


# Pods and revisions


def server(address: str = "10.0.0.1:8080", **changes: Any) -> Json:
    refused = "Layer4 connection problem: Connection refused"
    return {"seconds": 90, "address": address, "status": "DOWN", "check": "L4CON", "text": refused} | changes


def test_a_pod_that_is_down_is_named_with_haproxys_words_and_the_proxies_that_say_so(stage: Stage) -> None:
    stage.proxy("x-1", report(down=1, servers=[server()]))
    stage.proxy("x-2", report(ejected=1, servers=[server(seconds=30), server("10.0.0.2:8080", status="DRAIN")]))
    ejected, down = stage.document()["routes"][0]["pods"]
    assert (down["pod"], down["status"], down["check"], down["proxies"]) == ("v1-a", "DOWN", "L4CON", ["x-1", "x-2"])
    assert (ejected["pod"], ejected["status"], ejected["proxies"]) == ("v1-b", "DRAIN", ["x-2"])
    printed = stage.get().out
    (line,) = [line for line in printed.splitlines() if "v1-a" in line]
    assert "v1-a (10.0.0.1:8080) down since" in line
    assert "(1m30s) at 2 of 2 proxies: DOWN L4CON Layer4 connection problem: Connection refused" in line
    (line,) = [line for line in printed.splitlines() if "v1-b" in line]
    assert "v1-b (10.0.0.2:8080) ejected since" in line
    assert line.endswith("at 1 of 2 proxies: it reset its connections")


@pytest.mark.parametrize(("ago", "sign"), [(2, WARNING), (3600, GOOD)])
def test_a_route_whose_connections_fail_now_needs_a_look(stage: Stage, ago: int, sign: Sign) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(ago)]}))
    (line,) = [line for line in stage.get().out.splitlines() if "myapp-v1:http" in line]
    assert any(f"{symbol} myapp-v1:http" in line for symbol in (sign.symbol, sign.ascii))


def test_of_thousands_of_pods_the_bad_ones_are_listed_and_the_rest_is_counted(stage: Stage) -> None:
    stage.proxy("x-1", report(up=1000, down=1990, servers=[server(f"10.1.0.{n}:80") for n in range(10)]))
    printed = stage.get().out
    assert printed.count("Connection refused") == 10
    assert "and 1980 more pods that are down or ejected" in printed
    assert row(printed, "myapp-v1:http")[3:6] == ["1000", "0", "1990"]


def test_each_proxy_has_the_revision_that_it_serves(stage: Stage) -> None:
    change = {"kind": "WeightChange", "at": "2026-11-26T11:00:00.000Z", "after": [], "cause": "c", "generation": 1}
    stage.status(history={"last": 1, "entries": [change | {"number": 1, "revision": 2, "digest": OTHER}]})
    for name, digest in (("x-1", DIGEST), ("x-2", NEWER), ("x-3", OTHER), ("x-4", "c" * 24), ("x-5", "")):
        stage.proxy(name, report() | {"digest": digest})
    found = [(proxy["revision"], proxy["latest"]) for proxy in stage.document()["proxies"]]
    assert found == [(3, True), (3, False), (2, False), (None, False), (None, False)]
    printed = stage.get().out
    assert [row(printed, f"x-{n}")[1] for n in (1, 2, 3, 5)] == ["3", "3", "2", "-"]
    assert "digest cccccccccccc" in printed
    assert printed.count("has not loaded revision 3") == 2
    assert printed.count("has not loaded the latest endpoints") == 1


def test_a_proxy_that_serves_a_revision_in_progress_is_not_behind(stage: Stage) -> None:
    change = {"kind": "WeightChange", "at": "2026-11-26T11:00:00.000Z", "after": [], "cause": "c", "generation": 1}
    stage.status(history={"last": 1, "entries": [change | {"number": 1, "revision": 4, "digest": OTHER}]})
    stage.proxy("x-1", report() | {"digest": OTHER})
    assert [(proxy["revision"], proxy["latest"]) for proxy in stage.document()["proxies"]] == [(4, True)]
    assert "has not loaded" not in stage.get().out


def test_a_proxy_that_has_rolled_back_serves_no_revision_and_is_not_behind(stage: Stage) -> None:
    counts = {"connections": 9, "failed": 9}
    back = {
        "revision": 3,
        "canary": "myapp-v2:9090",
        "own": counts,
        "others": counts,
        "chance": 0.0001,
        "secondsAgo": 5,
    }
    stage.proxy("x-1", report() | {"digest": "0" * 24, "rolledBack": back})
    printed = stage.get().out
    assert row(printed, "x-1")[1] == "-"
    assert "it has rolled back revision 3 without the operator" in printed
    assert "has not loaded" not in printed


def test_there_is_no_actual_share_while_proxies_serve_different_weights(stage: Stage) -> None:
    stage.proxy("x-1", report(sinceChange=5))
    assert [route["actual"] for route in stage.document()["routes"]] == [50.0, 50.0]
    stage.proxy("x-2", report(sinceChange=5) | {"digest": OTHER})
    assert [route["actual"] for route in stage.document()["routes"]] == [None, None]


@pytest.mark.parametrize(("weight", "is_shown"), [(50, True), (80, False)])
def test_decided_weights_that_not_every_proxy_serves_are_shown(stage: Stage, weight: int, is_shown: bool) -> None:
    shares = [{"backend": "myapp-v1:http", "weight": weight}, {"backend": "myapp-v2:9090", "weight": 100 - weight}]
    stage.status(split={"revision": 4, "generation": 1, "at": "2026-11-26T12:00:00.000Z", "weights": shares})
    assert ("Revision 4 is in progress since" in stage.get().out) == is_shown


def test_the_last_transitions_are_shown_newest_first(stage: Stage) -> None:
    phase = {"kind": "PhaseChange", "from": "Rolling", "to": "Ready", "trigger": "complete", "reason": "Serving"}
    weights = [{"backend": "myapp-v1:http", "weight": 80}, {"backend": "myapp-v2:9090", "weight": 20}]
    change = {"kind": "WeightChange", "after": weights, "cause": "more", "generation": 1, "revision": 3, "author": "me"}
    times = ["2026-11-26T11:00:00.000Z", "2026-11-26T11:00:02.000Z", "2026-11-26T11:00:03.000Z"]
    entries: list[Json] = [change, phase | {"message": "all"}, {"kind": "ANewerOne"}]
    entries = [{**entry, "number": n, "at": at} for n, (entry, at) in enumerate(zip(entries, times, strict=True))]
    stage.status(history={"last": 3, "entries": entries})
    last = stage.get().out.splitlines()[-2:]
    assert "Rolling → Ready (Serving): all" in last[0]
    assert "revision 3: myapp-v1:http=80 myapp-v2:9090=20 by me: more" in last[1]


# Terminals


def empty_view(**changes: Any) -> KanaryView:
    good: Json = {
        "namespace": "shop",
        "name": "web",
        "phase": "Ready",
        "reason": "Serving",
        "message": "",
        "since": NOW,
        "revision": 3,
        "read_at": NOW,
    }
    none = dict.fromkeys(("change", "rollout")) | dict.fromkeys(("routes", "proxies", "entries", "unknown"), ())
    return KanaryView(**good | none | changes)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(columns: int) -> None:
    routes = [
        RouteView(backend=f"{'名' * 10}-{n}:http", weight=50, ready=2, up=1, down=1, connections=10**9) for n in (1, 2)
    ]
    view = empty_view(routes=tuple(routes), message="a message of several words " * 5)
    tree = TreeStyle(columns, is_unicode=True).draw(view, NOW)
    text = text_of(Console(width=columns, color_system=None), tree)
    assert max(map(cell_len, text.splitlines())) <= columns
    letters = "".join(c for c in text if c.isalnum() or c == "名")
    assert letters.count("名" * 10) == 2
    assert letters.count("1000000000") == 2
    assert ("weight 50" in text) == (columns < 200)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    text = text_of(Console(width=80, color_system=None), TreeStyle(80, is_unicode=False).draw(empty_view(), NOW))
    assert text.startswith("+ ")
