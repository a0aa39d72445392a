from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kanary.history.database import Database, open_database
from kanary.history.faults import Fault
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from kanary.history.writer import HistoryWriter, Hooks
from kanary.kube.backoff import Backoff
from tests.history.entries import at
from tests.history.postgres import Server, running
from tests.waiting import PATIENCE, await_that

QUICK = Backoff(base=0.01, cap=0.01)
ALL = {"deleted": True}

Make = Callable[..., HistoryWriter]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: Server = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()


@pytest.fixture
def reader(url: str) -> Iterator[Reader]:
    made = Reader(url)
    yield made
    made.close()


class Volume:
    """A small separate file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", *options], check=True)

    def fill(self) -> Path:
        """Fill the file system completely."""
        filler = self.folder / "filler"
        with filler.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue
        return filler


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "volume"
    folder.mkdir()
    made = Volume(folder)
    made.mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


QUICK = Backoff(base=0.01, cap=0.01)
Make = Callable[..., HistoryWriter]


class Heard:
    """The calls of the hooks."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.changes = 0
        self.dropped = 0
        self.refused: list[str] = []

    def hooks(self) -> Hooks:
        return Hooks(
            on_change=self._on_change,
            on_refused=lambda namespace, name: self.refused.append(f"{namespace}/{name}"),
            on_rows=lambda table, count: self.rows.update({table: count}),
            on_failure=lambda reason: self.failures.update({reason: 1}),
            on_dropped=self._on_dropped,
        )

    def _on_change(self) -> None:
        self.changes += 1

    def _on_dropped(self) -> None:
        self.dropped += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make(heard: Heard) -> Iterator[Make]:
    made: list[HistoryWriter] = []

    def start(url: str, **options: Any) -> HistoryWriter:
        options = {"backoff": QUICK, "hooks": heard.hooks(), "now": lambda: at(10_000), **options}
        writer = HistoryWriter(url, **options)
        made.append(writer)
        writer.start(PATIENCE)
        return writer

    yield start
    for writer in made:
        writer.stop()


def revisions(url: str, uid: str = "u-1") -> list[int]:
    reader = Reader(url)
    found = reader.changes(ChangeQuery(**ALL)).items
    reader.close()
    return [item.change.revision for item in found if item.kanary.uid == uid]


def fault_of(writer: HistoryWriter, uid: str | None = None) -> Fault:
    await_that(lambda: writer.fault(uid))
    found = writer.fault(uid)
    assert found is not None
    return found
