"""A process that is many clients: some hold their connections, others come and go all the time.

    python -m tests.held.client ADDRESS PORT RATE

Reads commands from its input, answers each with one line of JSON, and ends with its input:

    hold N   as many more held connections; answered when each of them has been echoed once
    count T  how many of those that came at that time or later, by the clock that never goes back, have gone
    report   everything that was seen, after each held connection has been echoed once more
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import random
import sys
import time
from collections.abc import Callable

from tests.waiting import PATIENCE

ECHO_SECONDS = 1.0
"""How often a held connection sends something, about."""

HELLO = b"hello\n"

Seen = tuple[float, float, str, str]


class Visitor(asyncio.Protocol):
    """Waits to be greeted, has one line echoed, closes."""

    def __init__(self, ended: Callable[[str, str], None]) -> None:
        self._ended = ended
        self._received = b""
        self._outcome = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._give_up)

    def data_received(self, data: bytes) -> None:
        asked, self._received = b"\n" in self._received, self._received + data
        _, newline, echoed = self._received.partition(b"\n")
        if newline and not asked:
            self._transport.write(HELLO)
        if echoed == HELLO:
            self._outcome = "ok"
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._ended(self._outcome or ("reset" if exc else "closed"), self.pod)

    @property
    def pod(self) -> str:
        greeting, newline, _ = self._received.partition(b"\n")
        return greeting.decode() if newline else ""

    def _give_up(self) -> None:
        self._outcome = "timed out"
        self._transport.abort()


class Holder(asyncio.Protocol):
    """Has a line echoed now and then, and notices when it is cut."""

    def __init__(self) -> None:
        self.cut_at: float | None = None
        self.cut_by = ""
        self.echoes = 0
        self.pod = ""
        self._received = b""
        self._heard = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._heard.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut("reset" if exc else "closed")

    async def talk(self) -> None:
        """Until the connection is cut."""
        self.pod = (await self._line()).decode().strip()
        while self.cut_at is None:
            await self.echo()
            # At times of its own: all at once would be a burst.
            await asyncio.sleep(random.uniform(0.5, 1.5) * ECHO_SECONDS)

    async def echo(self) -> None:
        self._transport.write(HELLO)
        if await self._line() == HELLO:
            self.echoes += 1

    async def _line(self) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                while b"\n" not in self._received and self.cut_at is None:
                    await self._heard.wait()
                    self._heard.clear()
        except TimeoutError:
            self._cut("silent")
        line, newline, self._received = self._received.partition(b"\n")
        return line + newline

    def _cut(self, by: str) -> None:
        if self.cut_at is None:
            self.cut_at, self.cut_by = time.monotonic(), by
            self._heard.set()


class Clients:
    """All clients of this process."""

    def __init__(self, address: str, port: int, rate: float) -> None:
        self._at = address, port
        self._pause = 1 / rate
        self._visits: list[Seen] = []
        self._holders: list[Holder] = []
        self._talks: list[asyncio.Task[None]] = []

    async def come_and_go(self) -> None:
        """Begins a visit at every beat, however long the ones before take."""
        under_way: set[asyncio.Task[None]] = set()
        beat = time.monotonic()
        try:
            while True:
                visit = asyncio.create_task(self._visit())
                under_way.add(visit)
                visit.add_done_callback(under_way.discard)
                # A machine that was busy elsewhere for a while is not paid back in a burst.
                beat = max(beat + self._pause, time.monotonic() - 10 * self._pause)
                await asyncio.sleep(beat - time.monotonic())
        except asyncio.CancelledError:
            await asyncio.gather(*under_way)

    async def answer(self, command: str, number: str = "") -> object:
        match command:
            case "hold":
                return await self._hold(int(number))
            case "count":
                return sum(began >= float(number) for began, *_ in self._visits)
            case _:
                return await self._report()

    async def _visit(self) -> None:
        began, ended = time.monotonic(), asyncio.get_running_loop().create_future()

        def end(outcome: str, pod: str) -> None:
            if not ended.done():
                self._visits.append((began, time.monotonic() - began, outcome, pod))
                ended.set_result(None)

        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().create_connection(lambda: Visitor(end), *self._at)
        except OSError as error:
            end(_named(error), "")
        await ended

    async def _hold(self, count: int) -> int:
        for _ in range(count):
            _, holder = await asyncio.get_running_loop().create_connection(Holder, *self._at)
            self._holders.append(holder)
            self._talks.append(asyncio.create_task(holder.talk()))
        while any(holder.echoes == 0 and holder.cut_at is None for holder in self._holders):
            await asyncio.sleep(0.01)
        return len(self._holders)

    async def _report(self) -> object:
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        held = await asyncio.gather(*map(self._last_words, self._holders))
        return {"visits": self._visits, "held": held}

    async def _last_words(self, holder: Holder) -> dict[str, object]:
        echoes = holder.echoes
        while holder.cut_at is None and holder.echoes == echoes:
            await holder.echo()
        return {"pod": holder.pod, "cut_at": holder.cut_at, "cut_by": holder.cut_by, "echoes": holder.echoes}


def _named(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    names = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset"}
    return names.get(error.errno or 0, errno.errorcode.get(error.errno or 0, repr(error)))


async def _serve(clients: Clients) -> None:
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    visits = asyncio.create_task(clients.come_and_go())
    while line := (await commands.readline()).decode().split():
        if line[0] == "report":
            visits.cancel()
            await visits
        print(json.dumps(await clients.answer(*line)), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Clients(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
