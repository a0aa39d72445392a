"""Where an axis of time has its ticks, and what is written there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86_400
_STEPS = (
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14)),
)
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
    """At most so many ticks at round local times between two times."""
    seconds = (end - start).total_seconds()
    step = next((step for step in _STEPS if seconds / step <= most), None)
    if step is None:
        return _monthly(start, end, most)
    times = _every(start, end, step)
    return [Tick(time, _label(time, step, time.date() != last)) for time, last in _with_last_date(start, times)]


def _every(start: datetime, end: datetime, step: int) -> list[datetime]:
    """Counted from local midnight, each day anew: where the clocks change, the times stay round."""
    first, last = (time.astimezone().replace(tzinfo=None) for time in (start, end))
    days = max(1, step // _DAY)
    # Weeks begin on Mondays.
    day = datetime(first.year, first.month, first.day) - timedelta(days=first.weekday() % days)
    found = []
    while day <= last + _CLOCK_CHANGE:
        begin = max(0, int((first - _CLOCK_CHANGE - day).total_seconds()) // step * step)
        until = min(_DAY, int((last + _CLOCK_CHANGE - day).total_seconds()) + 1)
        for offset in range(begin, until, step) if step < _DAY else (0,):
            wall = day + timedelta(seconds=offset)
            time = wall.astimezone()
            # What the clocks leave out in spring is no time.
            if start <= time <= end and time.replace(tzinfo=None) == wall:
                found.append(time)
        day += timedelta(days=days)
    return found


def _with_last_date(start: datetime, times: list[datetime]) -> list[tuple[datetime, object]]:
    return list(zip(times, [start.astimezone().date(), *(time.date() for time in times)], strict=False))


def _label(time: datetime, step: int, is_new_day: bool) -> str:
    if step >= _DAY or (is_new_day and time.hour == time.minute == 0):
        return f"{time.day} {time:%b}"
    return f"{time:%H:%M:%S}" if step < _MINUTE else f"{time:%H:%M}"


def _monthly(start: datetime, end: datetime, most: int) -> list[Tick]:
    days = (end - start).total_seconds() / _DAY
    months = next((m for m in _MONTHS if days / (_DAYS_OF_MONTH * m) <= most), _MONTHS[-1])
    local = start.astimezone()
    found: list[Tick] = []
    month = local.year * 12 + (local.month - 1) // months * months
    while True:
        year, index = divmod(month, 12)
        time = datetime(year, index + 1, 1).astimezone()
        if time > end:
            return found
        if time >= start:
            found.append(Tick(time, f"{time:%b} {year}"))
        month += months
