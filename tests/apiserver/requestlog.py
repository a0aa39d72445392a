"""What was asked, for assertions."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_LIMIT = 10_000


@dataclass(eq=False)
class LoggedRequest:
    """One request. `status` is None until it was answered, and for ever when it never is."""

    method: str
    path: str
    query: Mapping[str, str]
    status: int | None = None


class RequestLog:
    """The last requests in order of their arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: deque[LoggedRequest] = deque(maxlen=_LIMIT)

    def add(self, request: LoggedRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def answered(self, request: LoggedRequest, status: int) -> None:
        with self._changed:
            request.status = status
            self._changed.notify_all()

    def find(
        self, method: str | None = None, path: str = "", status: int | None = None, *, watch: bool | None = None
    ) -> list[LoggedRequest]:
        """The requests that match; `path` is a regular expression that is searched for, None stands for any."""
        with self._changed:
            return [r for r in self._requests if _matches(r, method, path, status, watch)]

    def wait_for(
        self,
        method: str | None = None,
        path: str = "",
        status: int | None = None,
        *,
        watch: bool | None = None,
        count: int = 1,
        timeout: float = 60.0,
    ) -> list[LoggedRequest]:
        """Waits for so many matching requests.

        Raises TimeoutError after `timeout` seconds, with what was asked instead.
        """
        with self._changed:
            found: list[LoggedRequest] = []

            def enough() -> bool:
                found[:] = [r for r in self._requests if _matches(r, method, path, status, watch)]
                return len(found) >= count

            if self._changed.wait_for(enough, timeout):
                return found
            last = [f"{r.method} {r.path} {r.status}" for r in list(self._requests)[-20:]]
            wanted = f"{count} x {method or 'any'} {path!r} {status or ''}"
            raise TimeoutError(f"{wanted} not seen within {timeout} s; last seen: {last}")

    def clear(self) -> None:
        with self._changed:
            self._requests.clear()

    def __len__(self) -> int:
        return len(self._requests)


def _matches(request: LoggedRequest, method: str | None, path: str, status: int | None, watch: bool | None) -> bool:
    is_watch = request.query.get("watch", "0") not in ("0", "false")
    return (
        method in (None, request.method)
        and re.search(path, request.path) is not None
        and status in (None, request.status)
        and watch in (None, is_watch)
    )
