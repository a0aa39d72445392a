"""Sends configurations to the agents of running proxies.

An agent checks the claims of a request before it receives the configuration, and responds before it has verified it:
only the report says that a proxy has loaded it. Until then it is sent again, with backoff.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from kanary.kube.backoff import Backoff
from kanary.kube.resources import Key
from kanary.operator.streams import Limits
from states.timing import SEND_LIMIT

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(base=0.2, cap=10.0)
_HEAD_BYTES = 4096
_CONTINUE, _ACCEPTED = 100, 202


@dataclass(frozen=True, slots=True)
class Push:
    """A signed configuration: number `serial` of the Kanary with the uid `kanary`."""

    kanary: str
    serial: int
    digest: str
    content: bytes = field(repr=False)
    signature: bytes

    @property
    def head(self) -> bytes:
        """The head of the request."""
        lines = (
            "PUT /configuration HTTP/1.1",
            f"Kanary-Configuration: {self.kanary} {self.serial}",
            f"Kanary-Signature: {self.signature.hex()}",
            f"Content-Length: {len(self.content)}",
            "Expect: 100-continue",
        )
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


class Sending:
    """Sends the latest configuration to the agent of one pod, until `is_done` says that its report has it.

    Then it calls `forget`, and is not used any more. Used in the thread of the event loop.
    """

    def __init__(
        self, pod: Key, port: int, limits: Limits, is_done: Callable[[str], bool], forget: Callable[[], object]
    ) -> None:
        self._pod = pod
        self._port = port
        self._limits = limits
        self._is_done = is_done
        self._forget = forget
        self._address = ""
        self._push: Push | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def send(self, address: str, push: Push) -> None:
        """Send this from now on, in place of any other."""
        self._address, self._push = address, push
        self._changed.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def reported(self) -> None:
        """Stop if the report has the configuration."""
        if self._push and self._is_done(self._push.digest):
            self._changed.set()

    def stop(self) -> None:
        """Send nothing more."""
        self._push = None
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        former: Push | None = None
        while (push := self._push) and not self._is_done(push.digest):
            failures = failures + 1 if push is former else 1
            former = push
            self._changed.clear()
            await self._attempt(push)
            with suppress(TimeoutError):
                async with asyncio.timeout(_BACKOFF.delay(failures)):
                    await self._changed.wait()
        self._forget()

    async def _attempt(self, push: Push) -> None:
        try:
            async with self._limits.slot(self._pod.namespace):
                self._limits.take()
                try:
                    status = await put(self._address, self._port, push)
                finally:
                    self._limits.release()
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            _log.debug("cannot send to the agent of pod %s: %s", self._pod, error or type(error).__name__)
        else:
            _log.debug("sent configuration %d to the agent of pod %s: %d", push.serial, self._pod, status)


async def put(address: str, port: int, push: Push) -> int:
    """Send a configuration to an agent; returns the HTTP status.

    Raises OSError, EOFError, ValueError and asyncio.LimitOverrunError.
    """
    # A host name would start a DNS lookup in a thread that cannot be stopped.
    host = str(ip_address(address))
    async with asyncio.timeout(SEND_LIMIT.total_seconds()):
        reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_BYTES)
        try:
            writer.write(push.head)
            status = await _status(reader)
            if status != _CONTINUE:
                return status
            writer.write(push.content)
            await writer.drain()
            return await _status(reader)
        finally:
            writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004  the version and the status
        raise ValueError(f"the response is {head[:40]!r}")
    return int(words[1])
