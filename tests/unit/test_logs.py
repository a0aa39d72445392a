"""The operator's log: each line is JSON in a cluster, and each transition has the names of the status."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from engine.last_status import read_status
from kanary.kube.resources import Key
from kanary.operator.logs import start_logging
from kanary.operator.metrics import Metrics
from kanary.operator.reporter import EventReporter
from tests.traces.rollouts import declare, serve, serving_v1
from tests.traces.world import World

Json = dict[str, Any]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The root logger without the handlers of the tests, which it gets back."""
    logger = logging.getLogger()
    handlers, level, hook = logger.handlers[:], logger.level, threading.excepthook
    logger.handlers.clear()
    monkeypatch.setattr("sys.excepthook", None)
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(capture=False)


@pytest.fixture
def log(root: None) -> io.StringIO:
    stream = io.StringIO()
    start_logging("info", "auto", stream)
    return stream


def lines(log: io.StringIO) -> list[Json]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_every_line_is_an_object_with_time_level_and_message(log: io.StringIO) -> None:
    logging.getLogger("kanary.x").warning("two\nlines of %s, %d", "\x1b[31mred", 7)
    (line,) = lines(log)
    assert (line["level"], line["logger"], line["message"]) == ("warning", "kanary.x", "two\nlines of \x1b[31mred, 7")
    assert line["time"].endswith("Z")


def test_an_exception_is_in_its_line(log: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError("broken")

    thread = threading.Thread(target=fail, name="worker-0")
    thread.start()
    thread.join()
    (line,) = lines(log)
    assert (line["level"], "worker-0" in line["message"]) == ("critical", True)
    assert "ValueError: broken" in line["exception"]


def test_a_message_about_an_object_has_its_namespace_and_name(log: io.StringIO) -> None:
    logging.getLogger("kanary.x").info("%s: retrying", Key("shop", "web"))
    (line,) = lines(log)
    assert (line["namespace"], line["name"], line["message"]) == ("shop", "web", "shop/web: retrying")


@pytest.fixture
def terminal(root: None) -> Terminal:
    stream = Terminal()
    start_logging("info", "auto", stream)
    return stream


def test_a_terminal_gets_text(terminal: Terminal) -> None:
    logging.getLogger("kanary.x").info("hello")
    assert terminal.getvalue().endswith(" hello\n")
    assert not terminal.getvalue().startswith("{")


class Logged(World):
    """A world whose operator has the real reporter for its log."""

    def __init__(self) -> None:
        super().__init__()
        self.reporter = EventReporter(None, Metrics())  # type: ignore[arg-type]  # no Event is emitted

    def transition(self, kanary: Json, **change: Any) -> None:
        super().transition(kanary, **change)
        self.reporter.transition(kanary, **change)

    def observed(self, kanary: Json, *what: Any, **how: Any) -> None:
        super().observed(kanary, *what, **how)
        self.reporter.observed(kanary, *what, **how)


def test_a_transition_is_one_line_with_the_names_of_the_status(log: io.StringIO) -> None:
    world = Logged()
    serving_v1(world)
    declare(world, 0, 100)
    world.run("v2 is to have all connections")
    serve(world, 20, v2=1)
    found = lines(log)
    status = read_status(world.objects["Kanary", "rule"])
    assert status.history
    entries = [line for line in found if line["kind"] != "ReasonChange"]
    assert [line["number"] for line in entries] == [*range(1, status.history.last + 1)]
    assert {(line["namespace"], line["name"]) for line in found} == {("default", "rule")}
    moves = [(line["from"], line["to"], line["trigger"]) for line in found if line["kind"] == "PhaseChange"]
    latest = [(move.source, move.to, move.trigger) for move in world.moves()]
    assert latest
    assert moves[-len(latest) :] == latest
    (failed,) = [line for line in found if line["kind"] == "RolloutChange" and line["trigger"] == "fail"]
    assert (failed["level"], failed["reason"], failed["rollout"]) == ("warning", "VerdictFailed", 1)
    assert (failed["to"], failed["step"]) == ("RollingBack", "1/3 10%")
    (first,) = [line for line in found if line["kind"] == "WeightChange" and line["revision"] == 2]
    assert first["after"] == [{"backend": "myapp-v1:http", "weight": 90}, {"backend": "myapp-v2:http", "weight": 10}]


def test_another_reason_without_a_move_is_a_line_as_well(log: io.StringIO) -> None:
    world = Logged()
    declare(world, 100, 0)
    world.settle()
    world.create_service("myapp-v1", 0)
    world.create_service("myapp-v2", 0)
    world.settle()
    (change,) = [line for line in lines(log) if line["kind"] == "ReasonChange" and "first endpoints" in line["message"]]
    assert (change["phase"], change["reason"], change["level"]) == ("Pending", "WaitingForEndpoints", "info")
    before = len(lines(log))
    world.live_through(60)
    assert len(lines(log)) == before
