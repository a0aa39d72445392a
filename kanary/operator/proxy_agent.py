"""The agent of one proxy pod as the operator sees it: its last report, and the attempts to stay connected."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from engine.fleet.proxy import Proxy
from engine.fleet.reports import Report, read_report
from kanary.kube.backoff import Backoff
from kanary.kube.resources import Key
from kanary.operator.streams import Limits, ReportStream, connect
from states.timing import FIRST_REPORT_LIMIT

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(base=0.2, cap=10.0)
_STEADY_SECONDS = 10.0
"""After a connection of at least this time the backoff begins anew."""


class ProxyAgent:
    """The agent of one pod: its last report, and the connection to it.

    `on_news` is called when a report differs from the last one in more than counts, with how long a reconcile may wait,
    and `on_counts` at each report after the first one, with the former one.
    `now` is the time with which reconciles compare what is reported.
    There are thousands: one that is connected has neither a task nor anything else that only attempts need.
    """

    __slots__ = (
        "_address",
        "_became_ready",
        "_connected_at",
        "_is_ready",
        "_limits",
        "_now",
        "_on_counts",
        "_on_news",
        "_port",
        "_stream",
        "_task",
        "_tried_at",
        "failures",
        "kanary",
        "pod",
        "report",
        "uid",
    )

    def __init__(
        self,
        pod: Key,
        uid: str,
        kanary: Key,
        *,
        port: int,
        limits: Limits,
        on_news: Callable[["ProxyAgent", timedelta], None],
        on_counts: Callable[[str, str, Report, Report], None],
        now: Callable[[], datetime],
    ) -> None:
        self.pod = pod
        self.uid = uid
        self.kanary = kanary
        self.report: Report | None = None
        self.failures = 0
        """Connections in a row that failed or did not last."""
        self._port = port
        self._limits = limits
        self._on_news = on_news
        self._on_counts = on_counts
        self._now = now
        self._address = ""
        self._is_ready = False
        self._became_ready: asyncio.Event | None = None
        """Ends the pause before the next attempt, while there are attempts."""
        self._tried_at: float | None = None
        """Of the attempts to connect since it is ready, the first one."""
        self._task: asyncio.Task[None] | None = None
        """The attempts to connect."""
        self._stream: ReportStream | None = None
        self._connected_at = 0.0

    def first_report_left(self) -> float:
        """How many seconds its first report may still take, if its pod is ready."""
        # A reconcile may see that the pod is ready before this object does.
        since = self._tried_at if self._is_ready else None
        passed = time.monotonic() - since if since is not None else 0.0
        return FIRST_REPORT_LIMIT.total_seconds() - passed

    @property
    def is_watching(self) -> bool:
        """Whether it counts the connections of a rollout under way, by its last report."""
        return self.report is not None and bool(self.report.revisions)

    def send_sign(self) -> None:
        """Signal to the agent that the operator can act, if there is a connection."""
        if self._stream:
            self._stream.send(f"operator of {self.uid}\n".encode())

    def has_decided(self, digest: str) -> bool:
        """Whether the proxy serves this configuration or rejects it, by its last report."""
        return self.report is not None and digest in (self.report.digest, self.report.rejected_digest)

    def follow(self, proxy: Proxy) -> None:
        """Connect to the proxy where it is now. A connection to a pod that stops lasts as long as its agent."""
        address = proxy.address if proxy.has_reachable_agent else ""
        if address and address != self._address:
            self.stop()
            self._address = address
            self._connect(pause=0)
        self._address = address
        if proxy.is_ready and not self._is_ready:
            # Its agent is there now, and has its time from now on.
            self._tried_at = None
            if self._became_ready:
                self._became_ready.set()
        self._is_ready = proxy.is_ready

    def stop(self) -> None:
        """Close the connection, if there is one."""
        self._address = ""
        if self._task:
            self._task.cancel()
            self._task = None
        if self._stream:
            stream, self._stream = self._stream, None
            self._limits.release()
            stream.end("not needed any more")

    def _connect(self, pause: float) -> None:
        self._task = asyncio.get_running_loop().create_task(self._attempts(self._address, pause))

    async def _attempts(self, address: str, pause: float) -> None:
        """Try until there is a connection, for the first time after this pause in seconds."""
        self._became_ready = asyncio.Event()
        while address == self._address:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._became_ready.wait()
            self._became_ready.clear()
            try:
                await self._attempt(address)
            except (OSError, ValueError) as error:
                pause = self._failed(str(error) or type(error).__name__)
            else:
                break
        self._task = self._became_ready = None

    async def _attempt(self, address: str) -> None:
        """Raises OSError and ValueError."""
        async with self._limits.slot(self.pod.namespace):
            self._tried_at = self._tried_at or time.monotonic()
            self._limits.take()
            try:
                stream = await connect(address, self._port, self._take, self._on_end)
            except BaseException:
                self._limits.release()
                raise
        self._stream, self._connected_at = stream, time.monotonic()

    def _on_end(self, reason: str) -> None:
        if self._stream is None:
            # Of a connection that was never established, or is not needed any more.
            return
        self._stream = None
        self._limits.release()
        if time.monotonic() - self._connected_at >= _STEADY_SECONDS:
            self.failures = 0
        pause = self._failed(reason)
        if self._address:
            self._connect(pause)

    def _failed(self, reason: str) -> float:
        """How many seconds the next attempt has to wait."""
        _log.debug("no connection to the agent of pod %s: %s", self.pod, reason)
        self.failures += 1
        return _BACKOFF.delay(self.failures)

    def _take(self, line: bytes) -> None:
        raw = json.loads(line)
        report = read_report(raw, self._now())
        if raw.get("pod") != self.uid:
            # The address is another pod's by now.
            raise ValueError(f"the report is of the pod {raw.get('pod')!r}")
        former, self.report = self.report, report
        if former:
            self._on_counts(self.kanary.namespace, self.kanary.name, former, report)
        after = report.news_after(former)
        if after is not None:
            self._on_news(self, after)
