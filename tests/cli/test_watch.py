"""`kanary get -w` and `kanary list -w`, in pipes and in terminals of their own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.apiserver import Fault
from tests.cli.conftest import ROOT
from tests.cli.stage import Stage, report
from tests.unit.kanaries import OWNER
from tests.waiting import PATIENCE

Json = dict[str, Any]

ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


def command(stage: Stage, *arguments: str) -> list[str]:
    program = [sys.executable, "-m", "kanary.cli.main"]
    return [*program, *arguments, "-w", "-n", OWNER.namespace, "--kubeconfig", stage.kubeconfig]


@contextmanager
def piped(stage: Stage, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command(stage, *arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = b""
    # Not more than this line: what is in a buffer makes no file ready.
    while not line.endswith(b"\n"):
        assert select.select([process.stdout], [], [], PATIENCE)[0], "no line"
        byte = os.read(process.stdout.fileno(), 1)
        assert byte, "the command has ended"
        line += byte
    return line.decode()


def document_of(process: subprocess.Popen[str]) -> Any:
    return json.loads(line_of(process))


class Screen:
    """The command in a terminal."""

    def __init__(self, stage: Stage, *arguments: str, rows: int = 50, **environment: str) -> None:
        self._process, self._file = pty.fork()
        if self._process == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
            os.chdir(ROOT)
            words = command(stage, *arguments)
            os.execvpe(words[0], words, {**os.environ, "TERM": "xterm-256color", **environment})
        self.output = b""

    def until(self, text: str) -> None:
        """Read until the terminal has shown this."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.output:
            assert time.monotonic() < end, self.output.decode(errors="replace")
            self._read()

    def send(self, number: int) -> None:
        os.kill(self._process, number)

    def suspend(self) -> None:
        self.send(signal.SIGTSTP)
        os.waitpid(self._process, os.WUNTRACED)
        # The kernel passes on what it has written in its own time.
        self.until(LEAVE.decode())

    def type(self, key: bytes) -> None:
        os.write(self._file, key)

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        end = time.monotonic() + PATIENCE
        # A watch that goes on is redrawn each second.
        while self._read():
            assert time.monotonic() < end, "the command does not end"
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    def _read(self) -> bool:
        assert select.select([self._file], [], [], PATIENCE)[0], self.output.decode(errors="replace")
        try:
            more = os.read(self._file, 65536)
        except OSError:  # the terminal of a process that has ended
            return False
        self.output += more
        return bool(more)

    def close(self) -> None:
        os.close(self._file)


@pytest.mark.parametrize(("ending", "code"), [(b"\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_watch_leaves_the_terminal_clean_and_the_last_picture(
    stage: Stage, ending: bytes | signal.Signals, code: int
) -> None:
    stage.proxy("x-1", report())
    screen = Screen(stage, "get", OWNER.name)
    screen.until("node-of-x-1")
    stage.status(phase="Degraded", reason="NoReadyEndpoints", message="no pod is ready")
    screen.until("no pod is ready")
    if isinstance(ending, bytes):
        screen.type(ending)
    else:
        screen.send(ending)
    assert screen.end() == code
    shown, _, after = screen.output.rpartition(LEAVE)
    assert shown.count(ENTER) == 1
    assert shown.endswith(SHOW_CURSOR)
    assert b"Degraded" in after
    assert b"node-of-x-1" in after
    assert b"Traceback" not in screen.output
    screen.close()


def test_a_suspended_watch_gives_the_terminal_back_until_it_continues(stage: Stage) -> None:
    screen = Screen(stage, "get", OWNER.name)
    screen.until("Ready")
    screen.suspend()
    assert screen.output.endswith(SHOW_CURSOR + LEAVE)
    screen.send(signal.SIGCONT)
    stage.status(phase="Degraded", reason="NoReadyEndpoints")
    screen.until("Degraded")
    assert screen.output.count(ENTER) == 2
    screen.type(b"\x03")
    assert screen.end() == 130
    screen.close()


def test_a_picture_that_is_higher_than_the_terminal_is_cut_and_complete_at_the_end(stage: Stage) -> None:
    for n in range(9):
        stage.proxy(f"x-{n}", report())
    screen = Screen(stage, "get", OWNER.name, rows=8)
    screen.until("more lines: a larger terminal shows them")
    screen.type(b"\x03")
    assert screen.end() == 130
    shown, _, after = screen.output.rpartition(LEAVE)
    assert b"node-of-x-8" not in shown
    assert b"node-of-x-8" in after
    screen.close()


def test_a_terminal_without_colours_is_redrawn_without_them(stage: Stage) -> None:
    screen = Screen(stage, "list", NO_COLOR="1")
    screen.until(OWNER.name)
    screen.type(b"\x03")
    assert screen.end() == 130
    assert ENTER in screen.output
    assert b"\x1b[1m" not in screen.output
    assert b"\x1b[3" not in screen.output
    screen.close()


def test_a_terminal_that_cannot_redraw_gets_blocks(stage: Stage) -> None:
    screen = Screen(stage, "get", OWNER.name, TERM="dumb")
    screen.until("Ready (Serving)")
    stage.status(phase="Degraded", reason="NoReadyEndpoints")
    screen.until("Degraded (NoReadyEndpoints)")
    screen.type(b"\x03")
    assert screen.end() == 130
    assert b"\x1b" not in screen.output
    screen.close()


def test_a_pipe_gets_a_line_of_json_at_each_change_other_than_of_counts(stage: Stage) -> None:
    stage.proxy("x-1", report())
    with piped(stage, "get", OWNER.name, "-o", "json") as process:
        first = document_of(process)
        assert (first["phase"], first["routes"][0]["connections"]) == ("Ready", 7)
        counted = [{"backend": "myapp-v1:http", "weight": 80, "ready": 2, "connections": 1000}]
        counted += [{"backend": "myapp-v2:9090", "weight": 20, "ready": 1, "unready": 2, "connections": 1000}]
        stage.status(weights=counted)
        stage.status(phase="Degraded", reason="NoReadyEndpoints", weights=counted)
        assert document_of(process)["phase"] == "Degraded"
        stage.proxy("x-2", report())
        assert [proxy["name"] for proxy in document_of(process)["proxies"]] == ["x-1", "x-2"]


def test_an_outage_of_the_api_server_is_reported_and_the_last_state_stays(stage: Stage) -> None:
    stage.proxy("x-1", report())
    with piped(stage, "get", OWNER.name, "-o", "json") as process:
        assert document_of(process)["unknown"] == []
        fault = stage.server.faults.add(Fault.drop())
        stage.server.drop_watches()
        during = document_of(process)
        assert "no response from the API server" in " ".join(during["unknown"])
        assert (during["phase"], [proxy["name"] for proxy in during["proxies"]]) == ("Ready", ["x-1"])
        stage.server.faults.remove(fault)
        stage.status(phase="Degraded", reason="NoReadyEndpoints")
        while (after := document_of(process))["unknown"] or after["phase"] != "Degraded":
            pass
        assert process.poll() is None


def test_proxies_that_can_no_longer_be_listed_stay_with_the_reason(stage: Stage) -> None:
    stage.proxy("x-1", report())
    with piped(stage, "get", OWNER.name, "-o", "json") as process:
        document_of(process)
        stage.server.faults.add(Fault.status(403, "GET", "/pods"))
        during = document_of(process)
        (reason,) = during["unknown"]
        assert "the proxies are those of" in reason
        assert "403" in reason
        assert [(proxy["name"], proxy["connections"]) for proxy in during["proxies"]] == [("x-1", 3)]


def test_a_deleted_kanary_ends_the_watch(stage: Stage) -> None:
    with piped(stage, "get", OWNER.name) as process:
        line_of(process)
        stage.server.store.delete("kanaries", OWNER.name, OWNER.namespace)
        _, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (1, f"kanary: {OWNER.name} was deleted\n")


@pytest.mark.parametrize("arguments", [("get", OWNER.name), ("list",)])
def test_a_pipe_that_its_reader_closes_ends_the_watch(stage: Stage, arguments: tuple[str, ...]) -> None:
    with piped(stage, *arguments) as process:
        line_of(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_list_follows_new_changed_and_deleted_kanaries(stage: Stage) -> None:
    with piped(stage, "list", "-o", "json") as process:
        assert [each["phase"] for each in document_of(process)] == ["Ready"]
        stage.status(phase="Degraded", reason="NoReadyEndpoints")
        assert [each["phase"] for each in document_of(process)] == ["Degraded"]
        stage.server.store.delete("kanaries", OWNER.name, OWNER.namespace)
        assert document_of(process) == []
