"""Reading a database that may hang: the thread that reads it cannot be cancelled, but nobody has to wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from engine.model.entries import Configuration
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.reader import Reader
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry

T = TypeVar("T")

READ_TIMEOUT_SECONDS = 25.0
"""How long a reader waits: longer than PostgreSQL has for a connection and a statement, whose errors name the cause."""


def in_thread(read: Callable[[], T]) -> Future[T]:
    """Call a function in a thread of its own, which does not delay the end of the process."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(read())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, name="history-read", daemon=True).start()
    return future


def no_answer(seconds: float) -> HistoryError:
    """The error of a database that has not answered for so long."""
    message = f"the history database has not answered for {seconds:g} s: check its server or volume, then retry"
    return HistoryError(FaultReason.UNAVAILABLE, message)


class TimedReader:
    """Implements `Source` with a database: each call ends in time, also if the disk hangs."""

    def __init__(self, reader: Reader, seconds: float = READ_TIMEOUT_SECONDS) -> None:
        self._reader = reader
        self._seconds = seconds

    def kanaries(self, query: KanaryQuery) -> Page[KanarySummary]:
        """See `Source`."""
        return self._in_time(partial(self._reader.kanaries, query))

    def changes(self, query: ChangeQuery) -> Page[RecordedChange]:
        """See `Source`."""
        return self._in_time(partial(self._reader.changes, query))

    def entries(self, query: EntryQuery) -> Page[RecordedEntry]:
        """See `Source`."""
        return self._in_time(partial(self._reader.entries, query))

    def configuration(self, digest: str) -> Configuration | None:
        """See `Source`."""
        return self._in_time(partial(self._reader.configuration, digest))

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()

    def _in_time(self, read: Callable[[], T]) -> T:
        try:
            return in_thread(read).result(self._seconds)
        except TimeoutError:
            raise no_answer(self._seconds) from None
