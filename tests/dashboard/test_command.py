"""The command `kanary dashboard` as it is run in a shell."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kanary.cli.main import main
from tests.apiserver import Fault
from tests.dashboard.stage import Stage, Visitor


@contextmanager
def running(stage: Stage, *arguments: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "kanary.cli.main", "dashboard", "-n", "shop", "--kubeconfig", stage.kubeconfig]
    whole = [*command, "--no-open", "--db", stage.database, *arguments]
    process = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]  # options of Popen
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def link_in(line: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/open\?token=\S+", line)
    assert found, line
    return found[0]


def test_it_serves_until_it_is_interrupted_and_says_nothing_more(stage: Stage) -> None:
    with running(stage, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        visitor = Visitor(link_in(process.stdout.readline())).admitted()
        # An open page keeps nobody from ending it.
        stream = visitor.request("GET", "/stream").response
        assert stream.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]  # it is a pipe


def test_enter_prints_a_new_link_and_ends_the_former_one(stage: Stage) -> None:
    terminal, end = pty.openpty()
    with running(stage, stdin=end) as process:
        assert process.stdout
        first = link_in(process.stdout.readline())
        process.stdout.readline()
        os.write(terminal, b"\n")
        second = link_in(process.stdout.readline())
        used = Visitor(first)
        assert used.request("GET", used.path).status == 401
        Visitor(second).admitted()
    os.close(terminal)
    os.close(end)


def test_a_port_that_is_in_use_is_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["dashboard", "--kubeconfig", stage.kubeconfig, "--port", str(port)]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_a_right_that_is_missing_is_reported_before_a_browser_opens(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.server.faults.add(Fault.status(403, "GET", "/kanaries"))
    assert main(["dashboard", "--kubeconfig", stage.kubeconfig, "-A"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("arguments", [["-A", "-n", "shop"], ["--port", "70000"], ["--port", "x"], ["web"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert main(["dashboard", *arguments]) == 2
