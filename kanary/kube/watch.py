"""An open watch: the events of one kind of object as they happen, from one HTTP answer that does not end by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from kanary.kube.errors import Garbled, Unreachable, from_status
from kanary.kube.resources import Json

Event = tuple[str, Json]

# What a read raises once another thread has shut the socket down under it: an end of stream for plain text, but
# for TLS also ValueError and AttributeError out of the ssl module.
_READ_FAULTS = (HTTPError, OSError, ValueError, AttributeError)


class Watch:
    """Iterate over (type, object) pairs; types are ADDED, MODIFIED, DELETED and BOOKMARK.

    Iteration ends when the server ends the watch or when `close()` is called, which any thread may do. It raises
    Unreachable when the connection breaks or stays silent for longer than the read time-out, Garbled for a line
    that is no watch event, and ApiError (Gone for 410) for an ERROR event.
    """

    def __init__(self, response: BaseHTTPResponse, unreachable: Callable[[Exception], Unreachable]) -> None:
        self._response = response
        self._unreachable = unreachable
        self._closed = False

    def __iter__(self) -> Iterator[Event]:
        for line in self._lines():
            if line.strip():
                yield _event(line)

    def _lines(self) -> Iterator[bytes]:
        try:
            for line in self._response:
                # What was cut off in the middle comes again: the resource version to go on from is still the last one.
                if self._closed or not line.endswith(b"\n"):
                    return
                yield line
        except _READ_FAULTS as error:
            if not self._closed:
                raise self._unreachable(error) from error
        finally:
            self._response.close()

    def close(self) -> None:
        """End the watch, also while another thread waits for its next event."""
        self._closed = True
        # Shutting down wakes a blocked read, closing the descriptor does not. It is refused when the answer is over.
        with suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._response.close()


def _event(line: bytes) -> Event:
    try:
        event: Any = json.loads(line)
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise from_status(obj, http_status=500)
        version = obj["metadata"]["resourceVersion"]
        named = kind == "BOOKMARK" or obj["metadata"]["name"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Garbled(f"this is no watch event: {line[:200]!r}; what stands before the API server?") from error
    if not (isinstance(kind, str) and isinstance(version, str) and isinstance(named, str | bool)):
        raise Garbled(f"a watch event's type, name and resourceVersion are text, this one has others: {line[:200]!r}")
    return kind, obj
