"""What the pages show, and how they change while they are open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from kanary.dashboard.opened import Opened
from kanary.dashboard.pages import Pages
from tests.apiserver import Fault
from tests.cli.stage import report
from tests.dashboard.conftest import Visit
from tests.dashboard.stage import PAGE, V2, Answer, Stage, Visitor, rollout, tally
from tests.unit.kanaries import OWNER

Json = dict[str, Any]


class Text(HTMLParser):
    """The text of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def text_of(page: str) -> str:
    return Text(page).text


class Stream:
    """The events of a page."""

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200
        self._events = self._read(answer)
        self.parts: dict[str, str] = {}
        self.spoken: list[str] = []
        self.title = ""

    def until(self, part: str, text: str) -> str:
        """The text of a part, once it contains this."""
        while text not in text_of(self.parts.get(part, "")):
            self._take(*next(self._events))
        return text_of(self.parts[part])

    def until_gone(self, part: str) -> None:
        """Until a part has no text."""
        while text_of(self.parts[part]):
            self._take(*next(self._events))

    def until_spoken(self, text: str) -> None:
        while not any(text in each for each in self.spoken):
            self._take(*next(self._events))

    def _take(self, kind: str, data: Any) -> None:
        if kind == "part":
            self.parts[data["id"]] = data["html"]
        elif kind == "title":
            self.title = data
        else:
            self.spoken.append(data)

    @staticmethod
    def _read(answer: Answer) -> Iterator[tuple[str, Any]]:
        kind = ""
        while line := answer.response.readline().decode().rstrip("\n"):
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
                answer.response.readline()
            else:
                assert line.startswith(":")
                answer.response.readline()


@pytest.fixture
def stream(visitor: Visitor) -> Stream:
    """That of the Kanary."""
    return Stream(visitor.request("GET", f"{PAGE}/stream"))


# All Kanaries


def test_all_kanaries_are_listed_with_their_phase_and_weights(stage: Stage, visit: Visit) -> None:
    stage.status("web", phase="Degraded", reason="NoReadyEndpoints", message="no backend has a ready endpoint")
    visitor = visit()
    text = text_of(visitor.get("/"))
    assert "2 Kanaries: 1 Ready, 1 Degraded" in text
    assert "shop/ myapp-split Ready myapp-v1:http 90" in text
    assert "Degraded NoReadyEndpoints no backend has a ready endpoint" in text


def test_kanaries_are_chosen_by_name_and_phase(stage: Stage, visit: Visit) -> None:
    stage.status("web", phase="Degraded")
    visitor = visit()
    for query, shown in {"q=WEB": ["web"], "phase=Ready": ["myapp-split"], "q=shop": ["myapp-split", "web"]}.items():
        links = [attrs["href"] for tag, attrs in Text(visitor.get(f"/?{query}")).elements if tag == "a"]
        assert [str(href).rpartition("/")[2] for href in links if "/kanaries/" in str(href)] == shown
    assert "0 of 2 Kanaries" in text_of(visitor.get("/?q=other"))


def test_a_dashboard_of_one_namespace_shows_no_other(stage: Stage, visit: Visit) -> None:
    kanary = stage.kanary()
    kanary["metadata"] = {"name": "web", "namespace": "other"}
    stage.server.store.put(kanary)
    visitor = visit()
    assert "other" not in visitor.get("/")
    answer = visitor.request("GET", "/kanaries/other/web")
    assert (answer.status, "-A" in answer.text) == (404, True)
    with stage.dashboard(None) as whole:
        assert "other/ web" in text_of(Visitor(whole).admitted().get("/"))


def test_kanaries_that_come_change_and_go_are_shown_without_a_reload(stage: Stage, visitor: Visitor) -> None:
    stream = Stream(visitor.request("GET", "/stream"))
    stream.until("rows", OWNER.name)
    stage.status("web", phase="Rolling")
    stream.until("rows", "web Rolling")
    stage.status("web", phase="Degraded", reason="NoReadyEndpoints")
    uid = stage.kanary("web")["metadata"]["uid"]
    stream.until(f"row-{uid}", "Degraded NoReadyEndpoints")
    stream.until_spoken("1 of 2 Kanaries are degraded")
    assert stream.title.startswith("1 degraded")
    stage.server.store.delete("kanaries", "web", OWNER.namespace)
    del stream.parts["rows"]
    assert "web" not in stream.until("rows", OWNER.name)
    stream.until("summary", "1 Kanary: 1 Ready")


def test_a_thousand_kanaries_are_one_watch_and_a_change_is_one_row(stage: Stage) -> None:
    for number in range(1000):
        stage.status(f"web-{number}")
    with stage.dashboard() as dashboard:
        visitor = Visitor(dashboard).admitted()
        streams = [Stream(visitor.request("GET", "/stream")) for _ in range(5)]
        for stream in streams:
            stream.until("summary", "1,001 Kanaries")
            stream.until("rows", "web-999")
            stream.parts.clear()
        # One of this dashboard, and one of that of the fixture if it runs.
        assert stage.server.watches == 1
        stage.status("web-7", phase="Degraded")
        row = f"row-{stage.kanary('web-7')['metadata']['uid']}"
        for stream in streams:
            stream.until(row, "Degraded")
            assert [part for part in stream.parts if part.startswith("row")] == [row]
        lists = [each for each in stage.server.requests.find("GET", "/kanaries") if "watch" not in str(each)]
        assert len(lists) <= 2 * 41, "each of the two watches lists them once, in pages of 25"


# One Kanary


def test_a_kanary_is_shown_with_its_proxies_and_failures(stage: Stage, stream: Stream) -> None:
    stage.proxies()
    shown = stream.until("proxies", "x-2 node-of-x-2 yes 3 11")
    assert "v1-a 10.9.9.9:4000 reset after 12 ms" in shown
    routes = stream.until("routes", "14")
    assert "myapp-v1:http 90 % 90 % 3/3 2 0 0 14 4" in routes
    assert "myapp-v2:9090 10 % 10 % 2/3 0 1 0 10 10" in routes


def test_weights_over_time_are_drawn_from_the_history(stream: Stream) -> None:
    shown = stream.until("plot", "revision 3")
    assert "raise to half (JIRA-12)" in shown


def test_without_a_history_the_reason_is_shown_and_the_rest_stays(stage: Stage) -> None:
    stage.database = "sqlite:////nowhere/history.db"
    with stage.dashboard() as dashboard:
        stream = Stream(Visitor(dashboard).admitted().request("GET", f"{PAGE}/stream"))
        stream.until("plot", "/nowhere/history.db")
        stream.until("head", "Ready Serving")


def test_the_present_state_is_lit_in_both_diagrams(stage: Stage, visit: Visit) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    visitor = visit()
    elements = Text(visitor.get(PAGE)).elements
    lit = {attrs["class"] for tag, attrs in elements if tag == "g" and "present" in str(attrs.get("class"))}
    assert lit == {"state Rolling present", "state Watching present"}
    labels = [str(attrs["aria-label"]) for tag, attrs in elements if tag == "svg"]
    assert any("present state: Rolling" in label and "complete to Ready" in label for label in labels)


def test_the_rules_that_decide_are_explained(stage: Stage, visit: Visit) -> None:
    watched = rollout(rule="step_is_watched")
    stage.status(phase="Rolling", reason="RollingOut", rule="rollout_is_under_way", rollout=watched)
    page = visit().get(PAGE)
    for rule in ("rollout_is_under_way", "step_is_watched"):
        assert f"Rule {rule} decides" in text_of(page)
    assert "does not apply" in page
    assert "What would move it" in page


def test_of_a_kanary_without_rollout_no_former_one_is_shown(stage: Stage, visit: Visit) -> None:
    stage.status(rollout={"number": 5, "state": "Completed"})
    assert "Rollout 5" not in text_of(visit().get(PAGE))


@pytest.mark.parametrize(("state", "is_shown"), [("Watching", True), ("RolledBack", False), ("Completed", False)])
def test_a_rollout_that_has_ended_needs_no_more_connections(
    stage: Stage, visit: Visit, state: str, is_shown: bool
) -> None:
    stage.status(rollout=rollout(state=state, verdict="about 460 more connections are needed"))
    assert ("Last verdict: about 460 more connections" in text_of(visit().get(PAGE))) is is_shown


def test_steps_and_evidence_grow_towards_the_verdict(stage: Stage, visitor: Visitor, stream: Stream) -> None:
    stage.status(phase="Rolling", rollout=rollout())
    shown = stream.until("rollout", "3 of 2,701 connections")
    assert "2 10 % 10m present 2,400 3 21,600 5" in shown
    assert "3 50 % promotion next" in shown
    assert "There is no evidence against it" in shown
    first = tally(1, 1, canary=(301, 0), others=(29_799, 4))
    more = tally(2, 10, canary=(2500, 12), others=(22_500, 5))
    stage.status(phase="Rolling", rollout=rollout(evidence=[first, more]))
    shown = stream.until("rollout", "12 of 2,801 connections")
    assert "rollouts of good versions has as much evidence" in shown
    # The line goes through what was seen before.
    line = stream.parts["rollout"].partition('class="line"')[2].partition("/path")[0]
    assert line.count("L") == 3
    assert f"Evidence about {V2}" in shown
    assert text_of(visitor.get(PAGE)).count("Evidence about") == 1


def test_missing_evidence_is_a_number_of_connections(stage: Stage, stream: Stream) -> None:
    few = [tally(1, 1, canary=(12, 0), others=(1_188, 0))]
    stage.status(rollout=rollout(step=1, to=1, state="Waiting", reason="WaitingForEvidence", until=None, evidence=few))
    assert "1,200 of about" in stream.until("rollout", "to pass")


def test_a_kanary_that_is_deleted_and_created_again_is_shown_as_such(stage: Stage, stream: Stream) -> None:
    stream.until("head", "Ready Serving")
    stage.server.store.delete("kanaries", OWNER.name, OWNER.namespace)
    stream.until("head", "There is no Kanary of this name")
    stream.until_spoken("does not exist")
    stage.status(phase="Pending")
    stream.until("head", "Pending")


def test_a_change_of_the_phase_is_spoken(stage: Stage, stream: Stream) -> None:
    stream.until("head", "Ready Serving")
    stage.status(phase="Degraded", reason="NoReadyEndpoints")
    stream.until_spoken(f"{OWNER.namespace}/{OWNER.name}: Degraded NoReadyEndpoints")
    assert stream.title.startswith("Degraded: ")


def put_event(stage: Stage, reason: str, minute: int = 0) -> None:
    involved = {"kind": "Kanary", "name": OWNER.name, "namespace": OWNER.namespace, "uid": stage.uid}
    at = f"2026-11-26T12:0{minute}:00Z"
    event = {"type": "Warning", "reason": reason, "message": f"because {minute}", "involvedObject": involved}
    times = {"firstTimestamp": at, "lastTimestamp": at}
    metadata = {"name": f"e-{minute}", "namespace": OWNER.namespace}
    stage.server.store.put({"apiVersion": "v1", "kind": "Event", "metadata": metadata, **event, **times})


def test_events_are_shown_newest_first(stage: Stage, visitor: Visitor) -> None:
    for minute, reason in enumerate(("StepStarted", "RolledBack")):
        put_event(stage, reason, minute)
    stream = Stream(visitor.request("GET", f"{PAGE}/stream"))
    shown = stream.until("events", "because 1")
    assert shown.index("RolledBack") < shown.index("StepStarted")
    assert f"Kanary/{OWNER.name}" in shown


# Trouble


def test_an_outage_of_the_api_server_is_shown_with_its_age_and_ends(stage: Stage, visit: Visit) -> None:
    stage.proxies()
    stream = Stream(visit().request("GET", f"{PAGE}/stream"))
    stream.until("proxies", "node-of-x-1")
    fault = stage.server.faults.add(Fault.drop())
    stage.server.drop_watches()
    assert " s)" in stream.until("outage", "No connection to the API server since")
    # What was known stays, with the reason why it may be outdated.
    stream.until("head", "cannot be listed")
    assert "Ready Serving" in text_of(stream.parts["head"])
    assert "node-of-x-1" in text_of(stream.parts["proxies"])
    stage.server.faults.remove(fault)
    stage.status(phase="Degraded")
    stream.until("head", "Degraded")
    stream.until_gone("outage")


def test_proxies_that_cannot_be_read_are_unknown(stage: Stage, visitor: Visitor) -> None:
    stage.proxies()
    fault = stage.server.faults.add(Fault.status(403, "GET", "/pods"))
    stream = Stream(visitor.request("GET", f"{PAGE}/stream"))
    shown = stream.until("proxies", "The proxies are unknown: the pods of namespace")
    assert "There are no proxies" not in shown
    stage.server.faults.remove(fault)
    assert "unknown" not in stream.until("proxies", "node-of-x-1")


def test_pods_that_receive_no_new_connections_are_listed_with_why(stage: Stage, stream: Stream) -> None:
    words = {"seconds": 9, "check": "L4OK", "text": "Layer4 check passed"}
    down = {"address": "10.0.0.2:9000", "status": "DOWN", "seconds": 9, "check": "L4CON", "text": "refused"}
    servers = [{"address": "10.0.0.1:9000", "status": "DRAIN", **words}, down]
    stage.proxy("x-1", report(down=1, ejected=1, servers=servers))
    shown = stream.until("routes", "ejected")
    assert "it reset its connections" in shown
    assert "check passed" not in shown
    assert "DOWN L4CON refused" in shown


def test_a_kanary_without_proxies_has_none(stream: Stream) -> None:
    stream.until("proxies", "There are no proxies.")


def test_events_that_cannot_be_read_again_stay_with_the_reason() -> None:
    board: Any = SimpleNamespace(host="", namespace="", outage=lambda: None)
    at = datetime(2026, 11, 26, tzinfo=UTC)
    event: Any = SimpleNamespace(
        time=at, type="Normal", reason="StepStarted", object="Kanary/x", message="because", count=1, first=at
    )
    actions: Any = None
    opened = Opened(events=[event], no_events="HTTP 403")
    shown = text_of(Pages(board, actions, "")._events(opened))
    assert "HTTP 403" in shown
    assert "StepStarted" in shown


def test_texts_of_the_cluster_are_escaped(stage: Stage, visit: Visit) -> None:
    bad = "<img src=x onerror=alert(1)>\"'&\u202e</script><script>alert(2)</script>"
    weights = [{"backend": bad, "weight": 100}]
    entries = [{"number": 1, "at": "2026-11-26T12:00:00.000Z", "kind": bad}]
    broken = rollout(reason=bad, message=bad, verdict=bad)
    history = {"last": 1, "entries": entries}
    stage.status(phase=bad, reason=bad, message=bad, weights=weights, history=history, rollout=broken)
    visitor = visit()
    for page in (visitor.get("/"), visitor.get(PAGE), visitor.get(f"{PAGE}/abort"), visitor.get(f"/?q={'%3Cimg'}")):
        tags = [tag for tag, _ in Text(page).elements]
        assert (tags.count("img"), tags.count("script")) == (0, 1)
        assert "\u202e" not in page


def test_a_status_of_another_version_is_shown(stage: Stage, visit: Visit) -> None:
    stage.status(phase="Dreaming", rollout=rollout(state="Sleeping"))
    visitor = visit()
    assert "Dreaming" in text_of(visitor.get(PAGE))
    assert "Dreaming" in text_of(visitor.get("/"))


def test_a_kanary_without_a_status_says_that_the_operator_has_not_seen_it(stage: Stage, visit: Visit) -> None:
    kanary = stage.kanary()
    stage.server.store.put({**kanary, "metadata": {"name": "new", "namespace": OWNER.namespace}, "status": {}})
    visitor = visit()
    assert "the operator has not written a status yet" in text_of(visitor.get(f"/kanaries/{OWNER.namespace}/new"))


def test_an_unknown_path_names_what_there_is(visitor: Visitor) -> None:
    assert visitor.request("GET", "/nothing").status == 404
    answer = visitor.request("GET", f"{PAGE}/explode")
    assert (answer.status, "promote" in answer.text) == (404, True)
    assert visitor.request("GET", "/kanaries/shop/unknown").status == 404
