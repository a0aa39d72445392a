from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from kanary.cli.main import main
from tests.apiserver import ApiServer
from tests.cli.record import record, story
from tests.cli.stage import Stage

ROOT = Path(__file__).parents[2]

Zone = Callable[[str], None]
Kanary = Callable[..., "Printed"]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """Set the local time zone."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def _utc(zone: Zone) -> None:
    zone("UTC")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    history = ("KANARY_HISTORY_URL", "KANARY_HISTORY_DAYS", "KANARY_HISTORY_CHANGES")
    for name in (*history, "NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The database with the story."""
    return record(tmp_path / "history.db", [story()])


class Printed:
    """The output and exit code of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def kanary(capsys: pytest.CaptureFixture[str]) -> Kanary:
    """Runs the command line."""

    def run(*arguments: str) -> Printed:
        code = main(list(arguments))
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return run


def into(output: IO[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a separate process that writes into a file."""
    command = [sys.executable, "-m", "kanary.cli.main", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def stage(tmp_path: Path, kanary: Kanary) -> Iterator[Stage]:
    """A cluster with a Kanary of two routes and no proxies yet."""
    with ApiServer() as server, ExitStack() as stack:
        yield Stage(server, server.kubeconfig(tmp_path / "kubeconfig"), kanary, stack)
