"""The connection to the agent of a proxy pod, on which its reports arrive as lines.

Pods belong to users: a line has a maximum length, and a connection is read at a bounded rate. The rest stays in the
kernel's buffers, and TCP slows the sender down.
"""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Callable
from ipaddress import ip_address

from kanary.kube.keepalive import keepalive
from kanary.outbound.concurrency import Concurrency
from states.timing import AGENT_CONNECT_LIMIT, AGENT_LOST_LIMIT

_log = logging.getLogger(__name__)

_CONNECTS = 256
_CONNECTS_OF_NAMESPACE = 16
"""How many connections are established at a time: addresses that do not answer delay those of their namespace only."""
_RESERVED_FILES = 256
"""File descriptors for everything else: watches, requests, the history, HTTP clients."""

_REQUEST = b"GET /reports HTTP/1.1\r\n\r\n"
_LINE_BYTES = 65_536
_BYTES_AT_ONCE = 65_536
_BYTES_PER_SECOND = 8_192
_READ_COST = 2_048
"""A connection is read up to so many bytes at once, and afterwards at this rate; each read costs so many more.

The last line counts: agents report what is, not what has changed.
"""

_KEEPALIVE = keepalive(int(AGENT_LOST_LIMIT.total_seconds()))
"""The kernel finds hosts that are gone: empty lines would cost this process 80 µs each."""

_buffer = bytearray(_LINE_BYTES)
"""For the reads of all connections: each is copied from here before the next one."""


class Limits(Concurrency):
    """What all connections share."""

    def __init__(self) -> None:
        super().__init__(_CONNECTS, _CONNECTS_OF_NAMESPACE)
        self._connections = 0
        self._is_exceeded = False
        self._max_connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES

    def take(self) -> None:
        """Count a connection. Raises OSError if it would take a file descriptor that others need."""
        if self._connections >= self._max_connections:
            if not self._is_exceeded:
                self._is_exceeded = True
                _log.error("raise the limit of open files: it is enough for %d proxies", self._connections)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._connections += 1

    def release(self) -> None:
        """Count a connection no more."""
        self._connections -= 1


async def connect(
    address: str, port: int, on_line: Callable[[bytes], None], on_end: Callable[[str], None]
) -> "ReportStream":
    """Connect to an agent; `on_line` may raise ValueError, which ends the connection.

    Raises OSError, and ValueError for an invalid address.
    """
    # A host name would start a DNS lookup in a thread that cannot be stopped.
    host = str(ip_address(address))
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(AGENT_CONNECT_LIMIT.total_seconds()):
        _, stream = await loop.create_connection(lambda: ReportStream(on_line, on_end), host, port)
    if stream.has_ended:
        raise ConnectionResetError("the agent closed the connection")
    return stream


class ReportStream(asyncio.BufferedProtocol):
    """Calls `on_line` with the last of the lines that have arrived, and `on_end` once, with the reason of the end."""

    __slots__ = (
        "_allowance",
        "_has_head",
        "_loop",
        "_on_end",
        "_on_line",
        "_read_at",
        "_rest",
        "_transport",
        "has_ended",
    )

    def __init__(self, on_line: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self.has_ended = False
        self._rest = b""
        self._has_head = False
        self._allowance = float(_BYTES_AT_ONCE)
        self._read_at = self._loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a connection is one
        """Send the request."""
        self._transport = transport
        connection: socket.socket = transport.get_extra_info("socket")
        for option in _KEEPALIVE:
            connection.setsockopt(*option)
        transport.write(_REQUEST)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  the signature of BufferedProtocol
        """The buffer of the next read."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Process what was read, and postpone the next read if there were too many."""
        try:
            self._process(bytes(memoryview(_buffer)[:nbytes]))
        except (ValueError, RecursionError) as error:
            self.end(str(error))
            return
        now = self._loop.time()
        refilled = self._allowance + (now - self._read_at) * _BYTES_PER_SECOND
        self._allowance, self._read_at = min(refilled, _BYTES_AT_ONCE) - nbytes - _READ_COST, now
        if self._allowance < 0:
            self._transport.pause_reading()
            self._loop.call_later(-self._allowance / _BYTES_PER_SECOND, self._transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """Set the reason."""
        self.end(str(exc or "the agent closed the connection"))

    def send(self, line: bytes) -> None:
        """Send a line, unless the agent has not taken the former one."""
        if not self._transport.get_write_buffer_size():
            self._transport.write(line)

    def end(self, reason: str) -> None:
        """Close the connection at once."""
        self._transport.abort()
        if not self.has_ended:
            self.has_ended = True
            self._on_end(reason)

    def _process(self, data: bytes) -> None:
        content = self._rest + data
        if not self._has_head:
            head, self._has_head, content = _without_head(content)
            if self._has_head and head.split(None, 2)[1:2] != [b"200"]:
                raise ValueError(f"the response is {head[:40]!r}")
        lines, _, self._rest = content.rpartition(b"\n") if self._has_head else (b"", b"", content)
        line = lines.strip().rpartition(b"\n")[2]
        if max(len(line), len(self._rest)) > _LINE_BYTES:
            raise ValueError(f"a line has more than {_LINE_BYTES} bytes")
        if line:
            self._on_line(line)


def _without_head(content: bytes) -> tuple[bytes, bool, bytes]:
    """The head of the response, whether it is complete, and the rest of the content."""
    head, end, rest = content.partition(b"\r\n\r\n")
    return (head, True, rest) if end else (b"", False, content)
