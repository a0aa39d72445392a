"""When steps of a rollout may start: the windows of the spec, and a freeze."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from engine.model.rollout import DAYS, Freeze, Window
from engine.model.times import time_text
from states import Problem, Reason

_AHEAD = 8
"""Days in which each weekly window opens at least once."""


def frozen(freeze: Freeze | None, now: datetime) -> tuple[Problem, timedelta | None] | None:
    """Why no weight may change, and how long that lasts, None if it has no end; None if it may."""
    if freeze is None or (freeze.until and freeze.until <= now):
        return None
    until = f"until {time_text(freeze.until)}" if freeze.until else "until spec.freeze is removed"
    reason = f": {freeze.reason}" if freeze.reason else ""
    problem = Problem(Reason.FROZEN, f"the weights are frozen {until} (spec.freeze){reason}")
    return problem, freeze.until - now if freeze.until else None


def closed(windows: Sequence[Window], now: datetime) -> tuple[Problem, timedelta] | None:
    """Why no step may start, and how long that lasts; None if one may."""
    if not windows:
        return None
    spans = sorted(span for window in windows for span in _spans(window, now))
    if any(start <= now < end for start, end in spans):
        return None
    opens = min(start for start, _ in spans if start > now)
    message = f"no step starts outside of spec.rollout.windows; the next window opens at {time_text(opens)}"
    return Problem(Reason.OUTSIDE_WINDOW, message), opens - now


def _spans(window: Window, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The times of a window from yesterday on, in UTC."""
    zone = ZoneInfo(window.time_zone)
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    today = now.astimezone(zone).date()
    for number in range(-1, _AHEAD):
        day = today + timedelta(days=number)
        if DAYS[day.weekday()] in window.days:
            last = day if end > start else day + timedelta(days=1)
            first = datetime.combine(day, start, zone).astimezone(UTC)
            yield first, datetime.combine(last, end, zone).astimezone(UTC)


def unknown_zones(windows: Iterable[Window]) -> Iterator[tuple[int, str]]:
    """The windows, by their number from 0, whose time zone does not exist."""
    for number, window in enumerate(windows):
        try:
            ZoneInfo(window.time_zone)
        except (KeyError, ValueError, OSError):
            yield number, window.time_zone
