"""The measurements. Each yields figures by the names of `rows.ROWS`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from statistics import median, quantiles

from bench.scale.fleet import READ, UNREAD
from bench.scale.lab import Lab
from bench.scale.operator import Kanary, Operator
from bench.scale.player import Wait
from bench.session import say

Figures = AsyncIterator[tuple[str, float]]

_SCRAPES = 10
_LATE_SECONDS = 40
"""How long after a start or a change something may follow: more than the longest routine interval."""
_CALM_SECONDS = 10
_BUSY = 0.1
"""Cores: an operator that uses more of them is at work."""
_WRITERS = 16
"""Requests at a time, where events arrive as fast as the API server takes them."""
_RATES = (20, 50, 100)
_UPDATE_SECONDS = 30
_GROWTH_SAMPLE = 0.2
"""The part of the changes after which memory should be flat."""


async def restart(lab: Lab) -> Figures:
    """Start the operator again, and leave it alone."""
    before = await lab.api.writes()
    async with lab.operator() as process:
        yield "start", process.cpu()
        await asyncio.sleep(min(_LATE_SECONDS, lab.plan.seconds))
        writes = await lab.api.writes() - before
        say(f"a restart: {_text(writes)}")
        yield "restart_writes", writes.total()
        yield "idle", 100 * await _idle(process, lab.plan.seconds)
        yield "settled", process.rss()
        yield "peak", process.peak()
        before_scrapes = process.cpu()
        for _ in range(_SCRAPES):
            size = len(await process.scrape())
        yield "scrape_size", size / 1000
        yield "scrape_cpu", 1000 * (process.cpu() - before_scrapes) / _SCRAPES


async def changes(lab: Lab) -> Figures:
    """Change the weights of some Kanaries, one after the other."""
    names = lab.names[: max(3, round(lab.plan.seconds / 2))]
    async with lab.operator() as process:
        idle, taken = await _idle(process, 10), []
        before, cpu, start = await lab.api.writes(), process.cpu(), time.monotonic()
        for number, name in enumerate(names):
            began = time.monotonic()
            await lab.fleet.change_weight(name, 20 + number % 60)
            await lab.fleet.await_ready([name], seconds=60)
            taken.append(time.monotonic() - began)
        await asyncio.sleep(5)
        used = process.cpu() - cpu - idle * (time.monotonic() - start)
        writes = await lab.api.writes() - before - Counter({"PATCH kanaries": len(names)})
        say(f"{len(names)} changes: {_text(writes)}")
        yield "change_writes", writes.total() / len(names)
        yield "change_cpu", 1000 * used / len(names)
        yield "change_ready", median(taken)


async def events(lab: Lab) -> Figures:
    """Events without effect, as fast as the API server takes them, to Kanary and to kopf."""
    async with lab.operator() as process:
        idle = await _idle(process, 10)
        flood = await _flood(lab, process, idle, UNREAD)
        yield "event_cpu", 1000 * flood.cpu / flood.events
        yield "event_rate", flood.events / flood.seconds
        before = await _durations(process)
        flood = await _flood(lab, process, idle, READ)
        seconds, count = (now - then for now, then in zip(await _durations(process), before, strict=True))
        yield "look_cpu", 1000 * flood.cpu / flood.handled
        yield "look_duration", 1000 * seconds / count
        yield "look_rate", flood.handled / flood.seconds
    async with lab.kopf() as process:
        flood = await _flood(lab, process, await _idle(process, 10), UNREAD)
        yield "kopf_cpu", 1000 * flood.cpu / flood.events
        yield "kopf_rate", flood.events / flood.seconds


async def _durations(process: Kanary) -> tuple[float, float]:
    """The seconds of all its reconciles, and how many there were."""
    found = await process.figures()
    return found["kanary_reconcile_duration_seconds_sum"], found["kanary_reconcile_duration_seconds_count"]


@dataclass(frozen=True, slots=True)
class _Flood:
    """What happened during events as fast as the API server takes them."""

    events: int
    handled: int
    """As `Operator.handled` counts."""
    seconds: float
    cpu: float
    """Seconds of the operator beyond those while nothing changes."""


async def _flood(lab: Lab, process: Operator, idle: float, annotation: str) -> _Flood:
    handled, cpu, began = await process.handled(), process.cpu(), time.monotonic()
    numbers = iter(range(10**9))

    async def write() -> None:
        while time.monotonic() - began < lab.plan.seconds / 2:
            number = next(numbers)
            await lab.fleet.annotate(lab.names[number % len(lab.names)], annotation, number)

    await asyncio.gather(*(write() for _ in range(_WRITERS)))
    await _calm(process)
    seconds = time.monotonic() - began
    count = await process.handled() - handled
    flood = _Flood(next(numbers), count, seconds, process.cpu() - cpu - idle * seconds)
    say(f"{flood.events} events, {count} handled in {seconds:.1f} s")
    return flood


async def _calm(process: Operator) -> None:
    """Wait until it works through no backlog."""
    while await _idle(process, 0.5, after=0) > _BUSY:
        pass


async def endpoints(lab: Lab) -> Figures:
    """Replace pods at several rates."""
    async with lab.operator() as process:
        idle = await _idle(process, 10)
        for rate in _RATES:
            cpu, began = process.cpu(), time.monotonic()
            waits, deepest = await _updates(lab, process, rate)
            used = process.cpu() - cpu - idle * (time.monotonic() - began)
            seconds = [wait.seconds if wait.seconds is not None else time.monotonic() - wait.began for wait in waits]
            missing = sum(wait.seconds is None for wait in waits)
            say(f"{rate}/s: {missing} of {len(waits)} missing, up to {deepest} in the queue")
            yield f"update_{rate}", median(seconds)
            yield f"update_{rate}_p99", quantiles(seconds, n=100)[98]
            yield f"update_{rate}_queue", deepest
            yield f"update_{rate}_cpu", 1000 * used / len(waits)
            await process.settle()


async def _updates(lab: Lab, process: Kanary, rate: int) -> tuple[list[Wait], int]:
    """The waits for all updates, ended or not, and the most Kanaries in the queue."""
    began, waits, deepest, tasks = time.monotonic(), [], 0, set()

    async def update(name: str) -> None:
        address = await lab.fleet.replace_pod(f"{name}-v1-1")
        wait = lab.player.wait_for(name, address)
        waits.append(wait)

    count = rate * _UPDATE_SECONDS
    for number in range(count):
        await asyncio.sleep(began + number / rate - time.monotonic())
        task = asyncio.create_task(update(lab.names[number % len(lab.names)]))
        tasks.add(task)
        if number % rate == 0:
            deepest = max(deepest, await process.queue())
    await asyncio.gather(*tasks)
    end = time.monotonic() + _UPDATE_SECONDS
    while any(wait.seconds is None for wait in waits) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return waits, deepest


async def growth(lab: Lab) -> Figures:
    """Change weights many times, as fast as the operator takes them, and look at its memory."""
    async with lab.operator() as process:
        samples = []
        count = iter(range(lab.plan.changes))

        async def change(names: list[str]) -> None:
            while True:
                for name in names:
                    if (number := next(count, None)) is None:
                        return
                    await lab.fleet.change_weight(name, 1 + number % 99)
                    await lab.fleet.await_ready([name], seconds=120)
                    if number % (lab.plan.changes // 10) == 0:
                        samples.append(process.rss())
                        say(f"{number} changes: {samples[-1]:.1f} MB")

        await asyncio.gather(*(change(list(lab.names[start::_WRITERS])) for start in range(_WRITERS)))
        yield "growth", 100 * (process.rss() / samples[round(len(samples) * _GROWTH_SAMPLE)] - 1)
        yield "growth_changes", lab.plan.changes


async def large(lab: Lab) -> Figures:
    """One Kanary of 5,000 endpoints, alone."""
    name = "large"
    await lab.fleet.create([name], pods=2_500)
    async with lab.operator() as process:
        await lab.fleet.await_ready([name], seconds=120)
        await asyncio.sleep(5)
        idle = await _idle(process, _LATE_SECONDS)
        handled, cpu, began = await process.handled(), process.cpu(), time.monotonic()
        for number in range(30):
            await lab.fleet.annotate(name, READ, number)
            await asyncio.sleep(0.2)
        used = process.cpu() - cpu - idle * (time.monotonic() - began)
        yield "large_look", 1000 * used / (await process.handled() - handled)
        cpu, began, waits = process.cpu(), time.monotonic(), []
        for number in range(10):
            wait = lab.player.wait_for(name, await lab.fleet.replace_pod(f"{name}-v1-{1 + number}"))
            waits.append(wait)
            await asyncio.sleep(3)
        used = process.cpu() - cpu - idle * (time.monotonic() - began)
        yield "large_change", 1000 * used / len(waits)
        yield "large_latency", median([wait.seconds or time.monotonic() - wait.began for wait in waits])
        yield "large_peak", process.peak()


async def _idle(process: Operator, seconds: float, after: float = _CALM_SECONDS) -> float:
    """Cores that it uses while nothing changes, so many seconds after its start or the last change."""
    await asyncio.sleep(after)
    before, began = process.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    return (process.cpu() - before) / (time.monotonic() - began)


def _text(writes: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(writes.items())) or "no writes"


PARTS: dict[str, Callable[[Lab], Figures]] = {
    "restart": restart,
    "changes": changes,
    "events": events,
    "endpoints": endpoints,
    "growth": growth,
}
"""Measured with many Kanaries."""
ALONE = {"large": large}
"""Measured without others."""
