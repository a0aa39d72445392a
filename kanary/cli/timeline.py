"""The weights and phases of one Kanary over time, as they are drawn: as many of them as can be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from kanary.cli.failure import CommandError
from kanary.cli.find import first_change
from kanary.cli.times import local_text
from kanary.history.model import KnownKanary, RecordedChange
from kanary.history.selection import Selection, every
from kanary.history.source import Source

_DRAWN = 2000
"""Points in time that a picture can show apart; of several changes in one, the last is shown."""
_SERIES = 10
"""Backends that are drawn by themselves; the smallest of more are drawn as one."""
OTHERS = "others"


@dataclass(frozen=True)
class Step:
    """From this time on, these weights."""

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

    kanary: KnownKanary
    start: datetime
    end: datetime
    steps: tuple[Step, ...]
    """In the order of time; the first may be from before the start."""
    spans: tuple[Span, ...]
    backends: tuple[str, ...]
    """In the order in which they are stacked, the oldest at the bottom."""

    def share(self, time: datetime) -> float:
        """Where a time is between start and end, from 0 to 1."""
        return min(1.0, max(0.0, (time - self.start) / (self.end - self.start)))

    def intervals(self) -> Iterator[tuple[Step, datetime, datetime]]:
        """Each step, with the time it lasted."""
        ends = [*(step.at for step in self.steps[1:]), self.end]
        for step, end in zip(self.steps, ends, strict=True):
            yield step, max(step.at, self.start), max(end, self.start)


def timeline(source: Source, kanary: KnownKanary, since: datetime | None, now: datetime) -> Timeline:
    """Read what is drawn, page by page. Raises CommandError where there is nothing to draw."""
    end = kanary.deleted_at or now
    start = _start(source, kanary, since)
    if start >= end:
        if since is not None and since >= end:
            raise CommandError(f"{kanary.name} was deleted at {local_text(end)}: name an earlier time than --since")
        end = start + timedelta(seconds=1)
    selection = Selection(kanary.namespace, kanary.name, include_deleted=True, since=start, until=end)
    steps = _steps(source, kanary, selection, start, end)
    spans = _spans(source, kanary, selection, start, end)
    backends = _backends(steps, end)
    return Timeline(kanary, start, end, tuple(_merged(step, backends) for step in steps), spans, backends)


def _start(source: Source, kanary: KnownKanary, since: datetime | None) -> datetime:
    first = first_change(source, kanary)
    if first is None:
        raise CommandError(f"there is nothing to draw: no change of {kanary.name} is kept")
    return max(since, first.change.at) if since else first.change.at


class _Dated(Protocol):
    @property
    def at(self) -> datetime: ...


D = TypeVar("D", bound=_Dated)


def _thinned(items: Iterable[D], start: datetime, end: datetime) -> list[D]:
    """Of items that come newest first, the newest at each point in time; in the order of time."""
    kept: dict[int, D] = {}
    for item in items:
        kept.setdefault(int((item.at - start) / (end - start) * _DRAWN), item)
    return sorted(kept.values(), key=lambda item: item.at)


def _steps(
    source: Source, kanary: KnownKanary, selection: Selection, start: datetime, end: datetime
) -> tuple[Step, ...]:
    found = (
        _step(change)
        for change in every(lambda after: source.changes(selection, after))
        if change.kanary.uid == kanary.uid
    )
    return (*_before(source, kanary, start), *_thinned(found, start, end))


def _before(source: Source, kanary: KnownKanary, start: datetime) -> list[Step]:
    """The step that was in force at the start, where it began before."""
    everything = Selection(kanary.namespace, kanary.name, include_deleted=True)
    earlier = [
        _step(change)
        for change in every(lambda after: source.in_force(everything, start, after))
        if change.kanary.uid == kanary.uid and change.change.at < start
    ]
    return earlier[:1]


def _step(found: RecordedChange) -> Step:
    change = found.change
    weights = {route.backend: route.weight for route in change.after}
    return Step(change.at, change.revision, weights, change.cause)


@dataclass(frozen=True)
class _Move:
    at: datetime
    source: str
    destination: str


def _spans(
    source: Source, kanary: KnownKanary, selection: Selection, start: datetime, end: datetime
) -> tuple[Span, ...]:
    found = (
        _Move(move.transition.at, move.transition.source, move.transition.destination)
        for move in every(lambda after: source.transitions(selection, after))
        if move.kanary.uid == kanary.uid
    )
    moves = _thinned(found, start, end)
    first = moves[0].source if moves else _phase_before(source, kanary, start)
    borders = [start, *(move.at for move in moves), end]
    phases = [first, *(move.destination for move in moves)]
    return tuple(
        Span(begin, until, phase)
        for begin, until, phase in zip(borders[:-1], borders[1:], phases, strict=True)
        if phase and until > begin
    )


def _phase_before(source: Source, kanary: KnownKanary, start: datetime) -> str:
    earlier = Selection(kanary.namespace, kanary.name, include_deleted=True, until=start)
    for move in every(lambda after: source.transitions(earlier, after, 1)):
        if move.kanary.uid == kanary.uid:
            return move.transition.destination
    return ""


def _backends(steps: Iterable[Step], end: datetime) -> tuple[str, ...]:
    """Those that are drawn: in the order in which they came, and the largest where there are many."""
    steps = tuple(steps)
    areas: dict[str, float] = {}
    for step, until in zip(steps, [*(step.at for step in steps[1:]), end], strict=True):
        for backend, weight in step.weights.items():
            areas[backend] = areas.get(backend, 0.0) + weight * (until - step.at).total_seconds()
    if len(areas) <= _SERIES:
        return tuple(areas)
    largest = sorted(areas, key=lambda backend: -areas[backend])[: _SERIES - 1]
    return (*(backend for backend in areas if backend in largest), OTHERS)


def _merged(step: Step, backends: tuple[str, ...]) -> Step:
    """With what is not drawn by itself under one name."""
    rest = sum(weight for backend, weight in step.weights.items() if backend not in backends)
    weights = {backend: weight for backend, weight in step.weights.items() if backend in backends}
    return Step(step.at, step.revision, {**weights, OTHERS: rest} if rest else weights, step.cause)
