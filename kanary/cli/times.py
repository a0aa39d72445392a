"""Times and durations as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EXPECTED = "2026-11-23T13:35, 2026-11-23T13:35:10+01:00, 2026-11-23, or an age such as 7d or 1h30m"
"""Where a time has no zone it is local."""

_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit in _UNITS), re.ASCII)


def read_time(text: str, now: datetime, *, through_second: bool = False) -> datetime:
    """The time in UTC that an ISO 8601 text or an age names. Raises ValueError or OverflowError for any other text.

    With `through_second` a time without a fraction is the end of its second: tables show no more of a time than that.
    """
    age = read_duration(text)
    if age is not None:
        return (now - age).astimezone(UTC)
    time = datetime.fromisoformat(text.upper())
    if through_second and not re.search("[.,]", text):
        time = time.replace(microsecond=999_999)
    return time.astimezone(UTC)


def read_duration(text: str) -> timedelta | None:
    """`7d`, `1h30m`: larger units first; None for any other text. Raises ValueError or OverflowError for too large."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    return timedelta(seconds=sum(int(amount) * _UNITS[unit] for unit, amount in match.groupdict("0").items()))


def local_text(time: datetime) -> str:
    """A time for a person: local, to the second."""
    return time.astimezone().replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def span_text(start: datetime, end: datetime) -> str:
    """A span of time for a person, with the zone of its end."""
    first, last = start.astimezone(), end.astimezone()
    until = f"{last:%H:%M:%S}" if first.date() == last.date() else local_text(last)
    return f"{local_text(first)} to {until} {last:%Z}"


def took_text(seconds: float) -> str:
    """How long something took: `6.1s`, `2m5s`, `3h20m`, `2d4h`."""
    whole = round(seconds)
    for unit, smaller in (("d", "h"), ("h", "m"), ("m", "s")):
        # What would be shown as 60.0s is 1m0s.
        if whole >= _UNITS[unit] and seconds >= 59.95:  # noqa: PLR2004 -- as above
            count, rest = divmod(whole, _UNITS[unit])
            return f"{count}{unit}{rest // _UNITS[smaller]}{smaller}"
    return f"{seconds:.1f}s"
