from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kanary.history.database import Database, open_database
from kanary.history.reader import Reader
from tests.history.postgres import Server, running


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
