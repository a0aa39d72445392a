"""The weights and phases of one Kanary over time, and the ticks of the time axis, for both kinds of drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

from engine.model.entries import Entry, PhaseChange, WeightChange
from kanary.cli.failure import CommandError
from kanary.cli.find import revision_of
from kanary.cli.output import weights_of
from kanary.cli.times import local_text
from kanary.history.queries import EntryQuery, every
from kanary.history.records import KanarySummary
from kanary.history.source import Source

E = TypeVar("E", bound=Entry)

PHASES = ("Ready", "Pending", "Rendering", "Rolling", "Degraded")
"""From the least to the most severe."""
_SEVERITY = {phase: severity for severity, phase in enumerate(PHASES, 1)}
Span: TypeAlias = tuple[datetime, datetime, E]
"""An entry with the start and the end of the time for which the drawing shows it."""
_POINTS = 1000
"""Points in time that a drawing distinguishes: they bound its size, whatever the number of changes."""
_MINUTE, _HOUR, _DAY, _MONTH = 60, 3600, 86_400, 30 * 86_400
_SHORT_STEPS = [n * unit for unit in (1, _MINUTE) for n in (1, 2, 5, 10, 15, 30)]
_LONG_STEPS = [n * unit for unit in (_HOUR, _MONTH) for n in (1, 3, 6, 12)]
_STEPS = sorted([*_SHORT_STEPS, *_LONG_STEPS, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 60 * _MONTH])
"""In seconds. Steps of a month or more mean calendar months."""


@dataclass(frozen=True)
class Timeline:
    """The content of a drawing."""

    kanary: KanarySummary
    start: datetime
    end: datetime
    weights: Sequence[Span[WeightChange]]
    """In order of time; the first change may be older than the start."""
    phases: Sequence[Span[PhaseChange]]
    """From the least to the most severe phase: phases drawn later cover earlier ones."""

    @property
    def title(self) -> str:
        """Namespace and name."""
        return f"{self.kanary.namespace}/{self.kanary.name}"

    @property
    def backends(self) -> Mapping[str, str]:
        """The last weight of each backend as text, such as `now 20 %`; the oldest backend first."""
        when, last = "at the end" if self.kanary.deleted_at else "now", weights_of(self.weights[-1][2].after)
        names = dict.fromkeys(share.backend for *_, change in self.weights for share in change.after)
        return {name: f"{when} {last.get(name, 0)} %" for name in names}

    def place(self, time: datetime) -> float:
        """The position of a time between start and end, from 0 to 1."""
        return (time - self.start) / (self.end - self.start)


def timeline(source: Source, kanary: KanarySummary, since: datetime | None, now: datetime) -> Timeline:
    """Read the content of a drawing page by page. Raises CommandError if there is nothing to draw."""
    if kanary.first_revision is None:
        raise CommandError(f"there is nothing to draw: the history has no weight change of {kanary.name}")
    first = revision_of(source, kanary, kanary.first_revision).change.at
    start, end = max(since or first, first), kanary.deleted_at or now
    if since is not None and since >= end:
        raise CommandError(f"{kanary.name} was deleted at {local_text(end)}: --since has to be before that")
    end = max(end, start + timedelta(seconds=1))
    weights = _read(source, kanary.uid, WeightChange, start, end)
    phases = _read(source, kanary.uid, PhaseChange, start, end)
    return Timeline(kanary, start, end, weights, sorted(phases, key=lambda span: _SEVERITY.get(span[2].to, 0)))


def _read(source: Source, uid: str, kind: type[E], start: datetime, end: datetime) -> list[Span[E]]:
    """The last change before the start, then the last one at each point in time; for phases, the last of each phase."""
    found: dict[tuple[int, str], E] = {}
    for each in every(source.entries, EntryQuery(uid=uid, until=end, kinds=kind.__name__)):
        if isinstance(entry := each.entry, kind):
            point = (entry.at - start) * _POINTS // (end - start) if entry.at > start else -1
            found.setdefault((point, entry.to if isinstance(entry, PhaseChange) else ""), entry)
            if point < 0:
                break
    entries = sorted(found.values(), key=lambda entry: (entry.at, entry.number))
    ends = [*(entry.at for entry in entries[1:]), end]
    return [(max(entry.at, start), until, entry) for entry, until in zip(entries, ends, strict=False)]


def ticks(start: datetime, end: datetime, most: int) -> list[tuple[datetime, str]]:
    """The round local times between two times, each with a label; at most `most` + 2 of them."""
    step = next((step for step in _STEPS if (end - start) / timedelta(seconds=step) <= most), _STEPS[-1])
    grain, hour = timedelta(seconds=min(step, _DAY)), timedelta(hours=1)
    first = start.astimezone().replace(tzinfo=None, fold=0) - hour
    first -= (first - datetime.min) % grain
    walls = [first + n * grain for n in range((end - start + 2 * hour) // grain + 2)]
    # When the clocks change, an hour occurs twice (fold 0 and 1), or is skipped: skipped times become later ones.
    times = sorted({wall.replace(fold=fold).astimezone() for wall in walls for fold in (0, 1)})
    return [(time, _label(time, step)) for time in times if start <= time <= end and _is_round(time, step)]


def _is_round(time: datetime, step: int) -> bool:
    if step >= _MONTH:
        return time.day == 1 and (time.year * 12 + time.month - 1) % (step // _MONTH) == 0
    return not (time.replace(tzinfo=None) - datetime.min) % timedelta(seconds=step)  # weeks begin on Mondays


def _label(time: datetime, step: int) -> str:
    if step >= _MONTH:
        return f"{time:%b %Y}"
    if time.hour == time.minute == time.second == 0:
        return f"{time.day} {time:%b}"
    return f"{time:%H:%M:%S}" if step < _MINUTE else f"{time:%H:%M}"
