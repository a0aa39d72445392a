"""The weights and phases of one Kanary over time, as they are drawn: as many of them as can be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from engine.model.entries import Entry, PhaseChange, WeightChange
from kanary.cli.failure import CommandError
from kanary.cli.find import revision_of
from kanary.cli.times import local_text
from kanary.history.queries import EntryQuery, every
from kanary.history.records import KanarySummary
from kanary.history.source import Source

E = TypeVar("E", bound=Entry)

_DRAWN = 2000
"""Points in time that a picture can show apart; of several changes in one, the last is shown."""
_SERIES = 10
"""Backends that are drawn by themselves; the smallest of more are drawn as one."""
_MOMENT = timedelta(milliseconds=1)
"""Two recorded times differ by this much at least."""
OTHERS = "others"
PHASES = ("Ready", "Pending", "Rendering", "Rolling", "Degraded")
"""Those that this version knows, from the least to the most severe."""


@dataclass(frozen=True)
class WeightStep:
    """From this time on, these weights, in percent."""

    at: datetime
    revision: int
    weights: Mapping[str, int]
    cause: str


@dataclass(frozen=True)
class Span:
    """A phase from one time to another."""

    start: datetime
    end: datetime
    phase: str


@dataclass(frozen=True)
class Timeline:
    """What is drawn."""

    kanary: KanarySummary
    start: datetime
    end: datetime
    steps: tuple[WeightStep, ...]
    """In the order of time; the first may be from before the start."""
    spans: tuple[Span, ...]
    backends: tuple[str, ...]
    """In the order in which they are stacked, the oldest at the bottom."""

    @property
    def title(self) -> str:
        """Namespace and name."""
        return f"{self.kanary.namespace}/{self.kanary.name}"

    @property
    def last(self) -> Mapping[str, str]:
        """The weight of each backend at the end, for a legend."""
        when = "at the end" if self.kanary.deleted_at else "now"
        return {backend: f"{when} {self.steps[-1].weights.get(backend, 0)} %" for backend in self.backends}

    @property
    def phases(self) -> Mapping[str, Sequence[Span]]:
        """The spans of each phase, from the least to the most severe: the last to draw is what matters."""
        order = [*dict.fromkeys(span.phase for span in self.spans if span.phase not in PHASES), *PHASES]
        found = {phase: [span for span in self.spans if span.phase == phase] for phase in order}
        return {phase: spans for phase, spans in found.items() if spans}

    def share(self, time: datetime) -> float:
        """Where a time is between start and end, from 0 to 1."""
        return min(1.0, max(0.0, (time - self.start) / (self.end - self.start)))

    def intervals(self) -> Iterator[tuple[WeightStep, datetime, datetime]]:
        """Each step, with the time it lasted."""
        ends = [*(step.at for step in self.steps[1:]), self.end]
        for step, end in zip(self.steps, ends, strict=True):
            yield step, max(step.at, self.start), max(end, self.start)


def timeline(source: Source, kanary: KanarySummary, since: datetime | None, now: datetime) -> Timeline:
    """Read what is drawn, page by page. Raises CommandError where there is nothing to draw."""
    if kanary.first_revision is None:
        raise CommandError(f"there is nothing to draw: the history has no weight change of {kanary.name}")
    first = revision_of(source, kanary, kanary.first_revision)
    start, end = max(since or first.change.at, first.change.at), kanary.deleted_at or now
    if since is not None and since >= end:
        raise CommandError(f"{kanary.name} was deleted at {local_text(end)}: --since has to be before that")
    end = max(end, start + timedelta(seconds=1)) if start >= end else end
    during = EntryQuery(uid=kanary.uid, since=start, until=end)
    before = EntryQuery(uid=kanary.uid, until=start - _MOMENT, limit=1)
    changes = [
        *islice(_read(source, before, WeightChange), 1),
        *_thinned(_read(source, during, WeightChange), start, end),
    ]
    moves = _thinned(_read(source, during, PhaseChange), start, end)
    earlier = (move.to for move in _read(source, before, PhaseChange))
    phase = moves[0].source if moves else next(earlier, "")
    backends = _backends(changes, end)
    steps = tuple(WeightStep(each.at, each.revision, _merged(each, backends), each.cause) for each in changes)
    return Timeline(kanary, start, end, steps, _spans(start, moves, end, phase), backends)


def _read(source: Source, query: EntryQuery, kind: type[E]) -> Iterator[E]:
    """The entries of one kind, the newest first."""
    for each in every(source.entries, query.model_copy(update={"kinds": kind.__name__})):
        if isinstance(each.entry, kind):
            yield each.entry


def _thinned(items: Iterable[E], start: datetime, end: datetime) -> list[E]:
    """Of items that come newest first, the newest at each point in time; in the order of time."""
    kept: dict[int, E] = {}
    for item in items:
        kept.setdefault(int((item.at - start) / (end - start) * _DRAWN), item)
    return sorted(kept.values(), key=lambda item: item.at)


def _spans(start: datetime, moves: Sequence[PhaseChange], end: datetime, first: str) -> tuple[Span, ...]:
    borders = [start, *(move.at for move in moves), end]
    spans = map(Span, borders, borders[1:], [first, *(move.to for move in moves)])
    return tuple(span for span in spans if span.phase and span.end > span.start)


def _backends(changes: Sequence[WeightChange], end: datetime) -> tuple[str, ...]:
    """Those that are drawn: in the order in which they came, and the largest where there are many."""
    areas: dict[str, float] = {}
    for change, until in zip(changes, [*(change.at for change in changes[1:]), end], strict=True):
        for share in change.after:
            areas[share.backend] = areas.get(share.backend, 0.0) + share.weight * (until - change.at).total_seconds()
    if len(areas) <= _SERIES:
        return tuple(areas)
    largest = sorted(areas, key=lambda backend: -areas[backend])[: _SERIES - 1]
    return (*(backend for backend in areas if backend in largest), OTHERS)


def _merged(change: WeightChange, backends: tuple[str, ...]) -> Mapping[str, int]:
    """The weights, with those that are not drawn by themselves under one name."""
    weights: dict[str, int] = {}
    for share in change.after:
        name = share.backend if share.backend in backends else OTHERS
        weights[name] = weights.get(name, 0) + share.weight
    return weights
