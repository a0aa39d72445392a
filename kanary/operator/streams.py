"""The connection to the agent of a proxy pod, on which its reports arrive as lines.

Pods belong to users: a line has a maximum length, and a connection is read at a bounded rate. The rest stays in the
kernel's buffers, and TCP slows the sender down.
"""

import asyncio
import errno
import json
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from ipaddress import ip_address
from weakref import WeakValueDictionary

from engine.fleet.proxy import Proxy
from engine.fleet.reports import Report, read_report
from kanary.kube.backoff import Backoff
from kanary.kube.resources import Key
from states.timing import AGENT_CONNECT_LIMIT, AGENT_SILENCE_LIMIT, FIRST_REPORT_LIMIT

_log = logging.getLogger(__name__)

_CONNECTS = 256
_CONNECTS_OF_NAMESPACE = 16
"""How many connections are established at a time: addresses that do not answer delay those of their namespace only."""
_BACKOFF = Backoff(base=0.2, cap=10.0)
_STEADY_SECONDS = 10.0
"""After a connection of at least this time the backoff begins anew."""
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

_buffer = bytearray(_LINE_BYTES)
"""For the reads of all connections: each is copied from here before the next one."""


class Limits:
    """What all connections share."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_CONNECTS)
        self._slots_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._connections = 0
        self._is_exceeded = False
        self._max_connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Count a connection. Raises OSError if it would take a file descriptor that others need."""
        if self._connections >= self._max_connections:
            if not self._is_exceeded:
                self._is_exceeded = True
                _log.error("raise the limit of open files: it is enough for %d proxies", self._connections)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._connections += 1
        try:
            yield
        finally:
            self._connections -= 1

    @asynccontextmanager
    async def slot(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a turn to connect."""
        slots = self._slots_of.setdefault(namespace, asyncio.Semaphore(_CONNECTS_OF_NAMESPACE))
        async with slots, self._slots:
            yield


class ProxyAgent:
    """The agent of one pod: its last report, and the task that stays connected to it.

    `on_news` is called when a report differs from the last one in more than counts, with how long a reconcile may wait.
    """

    def __init__(self, pod: Key, uid: str, port: int, limits: Limits, on_news: Callable[[timedelta], None]) -> None:
        self.uid = uid
        self.report: Report | None = None
        self._pod = pod
        self._port = port
        self._limits = limits
        self._on_news = on_news
        self._address = ""
        self._is_ready = False
        self._tried_at: float | None = None
        """Of the attempts to connect since it is ready, the first one."""
        self.failures = 0
        """Connections in a row that failed or did not last."""
        self._retry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def first_report_left(self) -> float:
        """How many seconds its first report may still take, if its pod is ready."""
        # A reconcile may see that the pod is ready before this object does.
        since = self._tried_at if self._is_ready else None
        passed = time.monotonic() - since if since is not None else 0.0
        return FIRST_REPORT_LIMIT.total_seconds() - passed

    def has_decided(self, digest: str) -> bool:
        """Whether the proxy serves this configuration or rejects it, by its last report."""
        return self.report is not None and digest in (self.report.digest, self.report.rejected_digest)

    def follow(self, proxy: Proxy) -> None:
        """Connect to the proxy where it is now. A connection to a pod that stops lasts as long as its agent."""
        address = proxy.address if proxy.has_reachable_agent else ""
        if address and (address != self._address or self._task is None):
            self.stop()
            self._task = asyncio.get_running_loop().create_task(self._stay_connected(address))
        self._address = address
        if proxy.is_ready and not self._is_ready:
            # Its agent is there now, and has its time from now on.
            self._tried_at = None
            self._retry.set()
        self._is_ready = proxy.is_ready

    def stop(self) -> None:
        """Close the connection, if there is one."""
        self._address = ""
        if self._task:
            self._task.cancel()

    async def _stay_connected(self, address: str) -> None:
        while address == self._address:
            began = time.monotonic()
            self._retry.clear()
            try:
                reason = await self._connection(address)
            except (OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
            _log.debug("no connection to the agent of pod %s: %s", self._pod, reason)
            self.failures = 1 if time.monotonic() - began >= _STEADY_SECONDS else self.failures + 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_BACKOFF.delay(self.failures)):
                    await self._retry.wait()

    async def _connection(self, address: str) -> str:
        """Returns why it has ended. Raises OSError and ValueError."""
        with ExitStack() as stack:
            async with self._limits.slot(self._pod.namespace):
                self._tried_at = self._tried_at or time.monotonic()
                stack.enter_context(self._limits.connection())
                stream = await connect(address, self._port, self._take)
                stack.callback(stream.end, "not needed any more")
            return await stream.ended

    def _take(self, line: bytes) -> None:
        report = read_report(json.loads(line))
        if report.pod != self.uid:
            # The address is another pod's by now.
            raise ValueError(f"the report is of the pod {report.pod!r}")
        former, self.report = self.report, report
        after = report.news_after(former)
        if after is not None:
            self._on_news(after)


async def connect(address: str, port: int, on_line: Callable[[bytes], None]) -> "ReportStream":
    """Connect to an agent; `on_line` may raise ValueError, which ends the connection.

    Raises OSError, and ValueError for an invalid address.
    """
    # A host name would start a DNS lookup in a thread that cannot be stopped.
    host = str(ip_address(address))
    async with asyncio.timeout(AGENT_CONNECT_LIMIT.total_seconds()):
        _, stream = await asyncio.get_running_loop().create_connection(lambda: ReportStream(on_line), host, port)
    return stream


class ReportStream(asyncio.BufferedProtocol):
    """Calls `on_line` with the last of the lines that have arrived; `ended` has the reason of the end."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._rest = b""
        self._has_head = False
        self._allowance = float(_BYTES_AT_ONCE)
        self._read_at = self._line_at = self._loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a connection is one
        """Send the request."""
        self._transport = transport
        transport.write(_REQUEST)
        self._end_if_silent()

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
        self._timer.cancel()
        self.end(str(exc or "the agent closed the connection"))

    def end(self, reason: str) -> None:
        """Close the connection at once."""
        self._transport.abort()
        if not self.ended.done():
            self.ended.set_result(reason)

    def _process(self, data: bytes) -> None:
        content = self._rest + data
        if not self._has_head:
            head, self._has_head, content = _without_head(content)
            if self._has_head and head.split(None, 2)[1:2] != [b"200"]:
                raise ValueError(f"the response is {head[:40]!r}")
        lines, end, self._rest = content.rpartition(b"\n") if self._has_head else (b"", b"", content)
        line = lines.strip().rpartition(b"\n")[2]
        if max(len(line), len(self._rest)) > _LINE_BYTES:
            raise ValueError(f"a line has more than {_LINE_BYTES} bytes")
        if end:
            self._line_at = self._loop.time()
        if line:
            self._on_line(line)

    def _end_if_silent(self) -> None:
        """End the connection if no line has arrived within the limit, and check again when it has passed."""
        end = self._line_at + AGENT_SILENCE_LIMIT.total_seconds()
        if end <= self._loop.time():
            self.end(f"silent for {AGENT_SILENCE_LIMIT.total_seconds():.0f} s")
        else:
            self._timer = self._loop.call_at(end, self._end_if_silent)


def _without_head(content: bytes) -> tuple[bytes, bool, bytes]:
    """The head of the response, whether it is complete, and the rest of the content."""
    head, end, rest = content.partition(b"\r\n\r\n")
    return (head, True, rest) if end else (b"", False, content)
