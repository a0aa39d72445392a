"""Faults on request: connections dropped, hung, throttled, delayed or cut."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from enum import Enum, auto


class Kind(Enum):
    """What goes wrong."""

    DROP = auto()
    HANG = auto()
    STATUS = auto()
    SLOW = auto()
    CUT = auto()
    MUTE = auto()
    EMPTY = auto()


@dataclass(eq=False)
class Fault:
    """One fault, for the requests that match. Make it with `drop`, `hang`, `status`, `slow`, `cut`, `mute` or `empty`.

    `method` is a regular expression for the whole method, `path` one that is searched for in the path with its query,
    and `times` the number of requests that it hits; None stands for any. The first `skip` of them pass.
    """

    kind: Kind
    method: str | None = None
    path: str = ""
    times: int | None = None
    after_write: bool = False
    skip: int = 0
    code: int = 500
    retry_after: int | None = None
    text: str = ""
    seconds: float | None = None
    hits: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _released: threading.Event = field(default_factory=threading.Event, repr=False)

    @classmethod
    def drop(
        cls, method: str | None = None, path: str = "", times: int | None = None, *, after_write: bool = False
    ) -> Fault:
        """Resets the connection: before anything is done, or with `after_write` when all is done but answered."""
        return cls(Kind.DROP, method, path, times, after_write=after_write)

    @classmethod
    def hang(
        cls,
        method: str | None = None,
        path: str = "",
        times: int | None = None,
        *,
        skip: int = 0,
        after_write: bool = False,
    ) -> Fault:
        """Takes the request and does nothing, or with `after_write` all but answer; when released, it drops it."""
        return cls(Kind.HANG, method, path, times, after_write=after_write, skip=skip)

    @classmethod
    def status(
        cls,
        code: int,
        method: str | None = None,
        path: str = "",
        times: int | None = None,
        *,
        retry_after: int | None = None,
        text: str = "",
    ) -> Fault:
        """Answers with this HTTP status instead of doing anything; `retry_after` is in seconds.

        The body is a Status, or this text.
        """
        return cls(Kind.STATUS, method, path, times, code=code, retry_after=retry_after, text=text)

    @classmethod
    def slow(
        cls, method: str | None = None, path: str = "", times: int | None = None, *, seconds: float | None = None
    ) -> Fault:
        """Starts on the request only when it is released, or after these seconds."""
        return cls(Kind.SLOW, method, path, times, seconds=seconds)

    @classmethod
    def cut(cls, path: str = "", times: int | None = None) -> Fault:
        """Sends half of a watch's next line, then resets the connection."""
        return cls(Kind.CUT, "GET", path, times)

    @classmethod
    def mute(cls, path: str = "", times: int | None = None) -> Fault:
        """Keeps a watch open but holds back its next line and all after it until released."""
        return cls(Kind.MUTE, "GET", path, times)

    @classmethod
    def empty(cls, plural: str, times: int | None = None) -> Fault:
        """Answers a list of this kind, or its next page, without objects."""
        return cls(Kind.EMPTY, "GET", rf"/{plural}(\?(?!.*watch=true)|$)", times)

    def take(self, kinds: tuple[Kind, ...], method: str, url: str, *, after_write: bool = False) -> bool:
        """Whether this fault hits the request at this point; if so it is counted."""
        with self._changed:
            due = self.kind in kinds and self.after_write is after_write
            meant = self.method is None or re.fullmatch(self.method, method) is not None
            fits = due and meant and re.search(self.path, url) is not None
            if not fits or self._released.is_set() or self.hits == self.times:
                return False
            if self.skip:
                self.skip -= 1
                return False
            self.hits += 1
            self._changed.notify_all()
            return True

    def wait_for_hits(self, count: int = 1, timeout: float = 60.0) -> None:
        """Waits until it hit so many requests.

        Raises TimeoutError after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.hits >= count, timeout):
                raise TimeoutError(f"{self} hit {self.hits} requests within {timeout} s, not {count}")

    def release(self) -> None:
        """Lets go on what it holds, and hits nothing from now on."""
        self._released.set()

    def hold(self) -> None:
        """Waits until it is released, or its seconds have passed."""
        self._released.wait(self.seconds)


class Faults:
    """The faults of one server. Of several that fit a request, the one that was added first hits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Ends a fault and lets go on what it holds."""
        fault.release()
        with self._lock:
            self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        for fault in list(self._faults):
            self.remove(fault)

    def take(self, kinds: tuple[Kind, ...], method: str, url: str, *, after_write: bool = False) -> Fault | None:
        """The fault of one of these kinds that hits the request, if any."""
        with self._lock:
            faults = list(self._faults)
        return next((fault for fault in faults if fault.take(kinds, method, url, after_write=after_write)), None)
