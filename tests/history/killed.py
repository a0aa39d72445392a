"""Operators in separate processes, which the tests kill."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import psycopg  # noqa: F401 -- loaded before the fork, like all other modules
import sqlalchemy as sa
from alembic import command  # noqa: F401 -- see above

from kanary.history.database import open_database
from kanary.history.pending import Pending
from kanary.history.retention import Retention, prune
from kanary.history.writer import HistoryWriter, Hooks
from kanary.kube.backoff import Backoff
from tests.history.entries import at, deleted, seen
from tests.waiting import PATIENCE

CONTEXT = multiprocessing.get_context("forkserver")
# Modules that take half a second to load are loaded once.
CONTEXT.set_forkserver_preload([__name__])

_QUICK = Backoff(base=0.005, cap=0.005)


def start(target: Any, *arguments: Any) -> tuple[BaseProcess, Connection]:
    """A started process, and the connection on which it reports."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def state(uid: str, first: int, last: int) -> Pending:
    """The state of a Kanary whose status has these unconfirmed changes."""
    return seen(uid, name=uid, first=first, last=last, phase_changes=2)


def one_life(url: str, boundary: int, pipe: Connection) -> None:
    """Run `live`, and kill the process at the boundary with this number, if there are as many."""
    live(url, pipe.send, Hooks(on_rows=_dying_at(boundary)))


def live(url: str, say: Callable[[int], None], hooks: Hooks | None = None) -> None:
    """Record two changes of a Kanary and a deleted Kanary, then prune all changes but one."""
    writer = HistoryWriter(url, backoff=_QUICK, hooks=hooks)
    writer.start()
    for last in (1, 2):
        writer.record(state("u-1", 1, last))
        assert writer.flush(PATIENCE)
        say(writer.confirmed("u-1"))
    writer.record(state("u-2", 1, 1))
    writer.record(deleted("u-2", 50, name="u-2"))
    assert writer.stop(PATIENCE)
    database = open_database(url)
    prune(database, Retention(changes=1), at(100))
    database.close()


def _dying_at(boundary: int) -> Callable[..., None]:
    """Kill the process at a boundary: before a writing statement, before a commit, or at a call of the result.

    Statements that only read are no boundaries, because they change nothing.
    """
    passed = 0

    def pass_one(*_: Any) -> None:
        nonlocal passed
        passed += 1
        if passed == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    def pass_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not re.match(r"\s*(SELECT|PRAGMA)", statement):
            pass_one()

    sa.event.listen(sa.Engine, "before_cursor_execute", pass_statement)
    sa.event.listen(sa.Engine, "commit", pass_one)
    return pass_one


def many_lives(url: str, first: dict[str, int], last: dict[str, int], pipe: Connection) -> None:
    """Record changes one by one, each after its status was written, until killed."""
    writer = HistoryWriter(url, backoff=_QUICK, retention=Retention(changes=0))
    writer.start()
    confirmed = {uid: number - 1 for uid, number in first.items()}
    for number in count(1):
        for uid, before in last.items():
            pipe.send(("status", uid, before + number))
            writer.record(state(uid, confirmed[uid] + 1, before + number))
            if (now := writer.confirmed(uid) // 10) > confirmed[uid]:
                confirmed[uid] = now
                pipe.send(("confirmed", uid, now))
        # As fast as the writer, and sometimes faster.
        if number % 4:
            writer.flush(0.02)
