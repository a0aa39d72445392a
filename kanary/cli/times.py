"""Times and durations as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from kanary.cli.failure import CommandError

EXPECTED = "2026-11-23T13:35, 2026-11-23T13:35:10+01:00, 2026-11-23, or an age such as 7d or 1h30m"
"""Where a time has no zone it is local."""

# In RFC 3339 the seconds are not optional; people leave them out.
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<minute>\d\d:\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+){unit})?" for unit in _UNITS), re.ASCII)


def read_time(option: str, text: str, now: datetime, *, through_second: bool = False) -> datetime:
    """The time that is meant, in UTC. Raises CommandError for a text that is none.

    With `through_second` a time without a fraction is the end of its second: tables show no more of a time than that.
    """
    try:
        age = read_duration(text)
        time = _read(text, "999999" if through_second else "") if age is None else now - age
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(f"{option} {text[:60]!r} is no time: give one like {EXPECTED}") from None


def read_duration(text: str) -> timedelta | None:
    """`7d`, `1h30m`: larger units first; None for what is none. Raises OverflowError for more than can be counted."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    parts = {unit: amount for unit, amount in match.groupdict().items() if amount}
    if any(len(amount) > 12 for amount in parts.values()):  # noqa: PLR2004 -- Python refuses to read very long numbers
        raise OverflowError
    return timedelta(seconds=sum(int(amount) * _UNITS[unit] for unit, amount in parts.items()))


def _read(text: str, fraction: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    fraction = (match["fraction"] or fraction)[:6].ljust(6, "0")
    minute, second, zone = match["minute"] or "00:00", match["second"] or "00", (match["zone"] or "").upper()
    time = datetime.fromisoformat(f"{match['date']}T{minute}:{second}.{fraction}{zone}")
    return time.astimezone()


def local_text(time: datetime) -> str:
    """A time for a person: local, to the second."""
    # Not by %Y, which writes a year before 1000 with fewer digits.
    return time.astimezone().replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def span_text(start: datetime, end: datetime) -> str:
    """A span of time for a person, with the zone that all of it is in: the end's, where the clocks changed."""
    first, last = start.astimezone(), end.astimezone()
    until = f"{last:%H:%M:%S}" if first.date() == last.date() else local_text(last)
    return f"{local_text(first)} to {until} {last:%Z}"


def took_text(seconds: float) -> str:
    """How long something took: `6.1s`, `2m5s`, `3h20m`, `2d4h`."""
    if seconds < 59.95:  # noqa: PLR2004 -- what would be shown as 60.0s is 1m0s
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, smaller in (("d", "h"), ("h", "m"), ("m", "s")):
        if whole >= _UNITS[unit]:
            count, rest = divmod(whole, _UNITS[unit])
            return f"{count}{unit}{rest // _UNITS[smaller]}{smaller}"
    return f"{seconds:.1f}s"
