"""An open watch: the events of one kind of object, from one streamed HTTP response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from kanary.kube.errors import InvalidResponse, Unreachable, from_status
from kanary.kube.http import Response
from kanary.kube.parsing import parsed
from kanary.kube.resources import Json

Event = tuple[str, Json]


class Watch:
    """Iterate over (type, object) pairs; types are ADDED, MODIFIED, DELETED and BOOKMARK.

    Iteration ends when the server ends the watch or any thread calls `close()`. It raises Unreachable if the connection
    breaks or delivers nothing within the read time-out, InvalidResponse for a line that is not a watch event, and
    ApiError (Gone for 410) for an ERROR event.
    """

    def __init__(self, response: Response, unreachable: Callable[[Exception], Unreachable]) -> None:
        self._response = response
        self._unreachable = unreachable
        self._closed = False

    def __iter__(self) -> Iterator[Event]:
        for line in self._lines():
            if line.strip():
                yield _event(line)

    def _lines(self) -> Iterator[bytes]:
        try:
            # Without an incomplete event: the next watch starts at the last complete one.
            for line in self._response.lines():
                if self._closed:
                    return
                yield line
        except OSError as error:
            if not self._closed:
                raise self._unreachable(error) from error
        finally:
            self._response.close()

    def close(self) -> None:
        """Close the watch, also while another thread waits for an event."""
        self._closed = True
        # A shutdown wakes a blocked read, unlike a close. It fails if the response has ended.
        with suppress(OSError):
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
        event: Any = parsed(line)
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise from_status(obj, http_status=500)
        version = obj["metadata"]["resourceVersion"]
        named = kind == "BOOKMARK" or obj["metadata"]["name"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidResponse(
            f"not a watch event: {line[:200]!r}; check the proxy or load balancer of the API server"
        ) from error
    if not (isinstance(kind, str) and isinstance(version, str) and isinstance(named, str | bool)):
        raise InvalidResponse(f"type, name and resourceVersion of a watch event must be strings: {line[:200]!r}")
    return kind, obj
