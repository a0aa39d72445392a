"""A PostgreSQL server for the tests, in its own folder, which accepts no connections from outside this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.waiting import await_that

TOOL = Path(__file__).parents[1] / "tools" / "postgresql"
MISSING = 3
PASSWORD = "s3cr3t/%40:word"
QUOTED_PASSWORD = "s3cr3t%2F%2540%3Aword"


def programs() -> Path:
    """The folder of PostgreSQL's programs; skips the test if there are none and the tests may not install them."""
    tool = subprocess.run([TOOL], stdout=subprocess.PIPE, text=True, check=False)
    if tool.returncode == MISSING:
        pytest.skip("there is no PostgreSQL here, and only on Debian, as root, do the tests install it")
    assert tool.returncode == 0, "PostgreSQL could not be installed: see above"
    return Path(tool.stdout.strip())


def name_of(url: str) -> str:
    """The name of the database in a URL of `Server`."""
    return url.partition("@/")[2].partition("?")[0]


class Server:
    """Runs between `start()` and `remove()`; clients connect to a socket in its folder, with a password."""

    def __init__(self) -> None:
        self._programs = programs()
        self._user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        # Not in pytest's folder, which other users cannot enter; besides, the path of a socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="kanary-pg-"))
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        if os.getuid() == 0:
            shutil.chown(self.folder, self._user)
        self._make()

    def _make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", self._data, "-U", "kanary", "--auth=scram-sha-256", f"--pwfile={secret}",
            "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip

    def _command(self, name: str, *arguments: str | Path) -> dict[str, object]:
        as_user = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        return {
            "args": [self._programs / name, *arguments],
            "cwd": self.folder,
            "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **(as_user if os.getuid() == 0 else {}),
        }

    def _run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(**self._command(name, *arguments), capture_output=True, text=True, check=False)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            **self._command(  # type: ignore[call-overload]
                "postgres", "-D", self._data, "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off",
                "-c", "max_connections=50", "-c", "shared_buffers=16MB", "-c", "jit=off",
            ),
            stdout=log,
            stderr=log,
        )  # fmt: skip
        log.close()
        await_that(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End all its processes at once, as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """All its processes are stopped: they do nothing, and the kernel acknowledges what they are sent."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        # The first one makes the others.
        os.kill(self._process.pid, number)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.folder), user="kanary", password=PASSWORD, dbname=database, autocommit=True
        )

    def new_database(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of the one at another URL."""
        name = f"test{next(self._names)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {name_of(template) if template else 'template1'}")
        return self.url(name)

    def url(self, name: str, password: str = QUOTED_PASSWORD) -> str:
        return f"postgresql+psycopg://kanary:{password}@/{name}?host={self.folder}"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that is removed at the end."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()
