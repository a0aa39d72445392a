"""Where an axis of time has its ticks, and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14)),
)
"""Seconds, of which each divides a day or consists of days."""
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
_DAYS_OF_MONTH = 30
_CLOCK_CHANGE = timedelta(hours=2)
"""More than clocks are ever set by."""


@dataclass(frozen=True)
class Tick:
    """A place on the axis."""

    at: datetime
    label: str


def ticks(start: datetime, end: datetime, most: int) -> list[Tick]:
    """At most so many ticks, or two more, at round local times between two times."""
    seconds = (end - start).total_seconds()
    step = next((step for step in _STEPS if seconds / step <= most), None)
    months = next((m for m in _MONTHS if seconds / _DAY / (_DAYS_OF_MONTH * m) <= most), _MONTHS[-1])
    first, last = (time.astimezone().replace(tzinfo=None) for time in (start, end))
    walls = _months(first, last, months) if step is None else _steps(first, last, timedelta(seconds=step))
    found: list[Tick] = []
    day = first.date()
    for wall in walls:
        time = wall.astimezone()
        # A time that the clocks skip in spring does not exist.
        if start <= time <= end and time.replace(tzinfo=None) == wall:
            found.append(Tick(time, f"{time:%b} {time.year}" if step is None else _label(time, step, day)))
            day = time.date()
    return found


def _steps(first: datetime, last: datetime, step: timedelta) -> Iterator[datetime]:
    """Round times of a clock on the wall; weeks begin on Mondays, as the calendar of Python does."""
    wall = first - _CLOCK_CHANGE - (first - _CLOCK_CHANGE - datetime.min) % step
    while wall <= last + _CLOCK_CHANGE:
        yield wall
        wall += step


def _months(first: datetime, last: datetime, months: int) -> Iterator[datetime]:
    begin = first.year * 12 + (first.month - 1) // months * months
    for month in range(begin, last.year * 12 + last.month, months):
        yield datetime(month // 12, month % 12 + 1, 1)


def _label(time: datetime, step: int, day_before: object) -> str:
    if step >= _DAY or (time.date() != day_before and time.hour == time.minute == 0):
        return f"{time.day} {time:%b}"
    return f"{time:%H:%M:%S}" if step < _MINUTE else f"{time:%H:%M}"
