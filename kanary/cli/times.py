"""Reads and writes times and durations in the formats of the command line."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

_EXPECTED = "2026-11-23T13:35, 2026-11-23T13:35:10+01:00, 2026-11-23, or an age such as 7d or 1h30m"

_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit in _UNITS), re.ASCII)


def read_time(text: str, now: datetime) -> datetime:
    """Read a time in ISO 8601 (local without a zone) or an age; returns it in UTC. Raises ValueError."""
    age = read_duration(text)
    try:
        return (datetime.fromisoformat(text.upper()) if age is None else now - age).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"invalid time {text[:60]!r}, expected {_EXPECTED}") from None


def read_duration(text: str) -> timedelta | None:
    """Read a duration such as `7d` or `1h30m`, larger units first; None if the text is invalid or too large."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    try:
        return timedelta(seconds=sum(int(amount) * _UNITS[unit] for unit, amount in match.groupdict("0").items()))
    except (ValueError, OverflowError):
        return None


def local_text(time: datetime) -> str:
    """A time as text: local, in whole seconds."""
    with suppress(OverflowError):  # of years 1 and 9999 in some time zones
        time = time.astimezone()
    return time.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def span_text(start: datetime, end: datetime) -> str:
    """A span of time as text, with the time zone of its end."""
    first, last = start.astimezone(), end.astimezone()
    until = f"{last:%H:%M:%S}" if first.date() == last.date() else local_text(last)
    return f"{local_text(first)} to {until} {last:%Z}"


def took_text(seconds: float) -> str:
    """A duration as text: `6.1s`, `2m5s`, `3h20m`, `2d4h`."""
    if seconds < 59.95:  # noqa: PLR2004 -- 59.95 would round to 60.0s, which is 1m0s
        return f"{seconds:.1f}s"
    whole = round(seconds)
    unit, smaller = next(pair for pair in ("dh", "hm", "ms") if whole >= _UNITS[pair[0]])
    return f"{whole // _UNITS[unit]}{unit}{whole % _UNITS[unit] // _UNITS[smaller]}{smaller}"


def age_text(start: datetime, now: datetime) -> str:
    """The time since then as text, in whole seconds: `6s`, `2m5s`, `2d4h`; a time to come counts as now."""
    return took_text(max(0, round((now - start).total_seconds()))).replace(".0s", "s")


def since_text(start: datetime, now: datetime) -> str:
    """A time up to now as text, with the date unless that is today: `since 14:02:10 (26m12s)`."""
    return f"since {at_text(start, now)} ({age_text(start, now)})"


def at_text(time: datetime, now: datetime) -> str:
    """A time as text, with the date unless that is today."""
    date, _, of_day = local_text(time).partition(" ")
    return of_day if date == local_text(now).partition(" ")[0] else f"{date} {of_day}"
