"""A timeline as a picture: weights as stacked steps, phases on a ribbon below, revisions on top."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape

from kanary.cli.axis import ticks
from kanary.cli.text import cut, plain, width
from kanary.cli.timeline import OTHERS, Step, Timeline
from kanary.cli.times import local_text, span_text

# Told apart by people who see colours differently as well (Paul Tol's schemes).
_COLOURS = (
    "#4477aa", "#ee8866", "#44aa77", "#ddbb33", "#77bbdd",
    "#aa4477", "#999933", "#cc99bb", "#225555", "#bbbbbb",
)  # fmt: skip
_OTHERS = "#bbbbbb"
_PHASES = {
    "Ready": "#b7dfc0",
    "Pending": "#d5d5d5",
    "Rendering": "#f4dd9a",
    "Rolling": "#efb64f",
    "Degraded": "#d0342c",
}
"""From the one that is drawn first: short ones that matter are drawn over long ones."""
_UNKNOWN = "#eeeeee"

_WIDTH, _LEFT, _RIGHT = 960, 56, 24
_PLOT = 260
_TITLE, _LINE, _MARKS = 34, 20, 20
_RIBBON, _GAP, _AXIS = 16, 6, 42
_LETTER = 6.7  # the width of most at this size
_TICKS = 10
_MARKED = 300
"""Revisions with a line and a text of their own; more would hide the weights."""
_NARROWEST = 1.5


def svg(timeline: Timeline) -> str:
    """The picture."""
    return "\n".join(_Picture(timeline).lines()) + "\n"


@dataclass(frozen=True)
class _Entry:
    colour: str
    text: str


class _Picture:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._names = {backend: cut(plain(backend), 40) for backend in timeline.backends}
        self._legend = _wrapped([*self._backend_entries()])
        self._top = _TITLE + _LINE * len(self._legend) + _MARKS
        self._bottom = self._top + _PLOT
        self._ribbon = self._bottom + _GAP
        self._phases = _wrapped([*self._phase_entries()])
        self._height = self._ribbon + _RIBBON + _AXIS + _LINE * len(self._phases)

    def lines(self) -> Iterator[str]:
        name = escape(f"{self._timeline.kanary.namespace}/{self._timeline.kanary.name}")
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self._height}" width="{_WIDTH}" '
            f'height="{self._height}" font-family="system-ui, \'DejaVu Sans\', sans-serif" font-size="12" '
            'fill="#333333" role="img">'
        )
        yield f"<title>Weights of Kanary {name}</title>"
        yield (
            '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><rect width="2.2" height="6" fill="#ffffff"/></pattern></defs>'
        )
        yield f'<rect width="{_WIDTH}" height="{self._height}" fill="#ffffff"/>'
        yield _text(_LEFT, 22, f"{name}", size=15, weight=600)
        span = escape(span_text(self._timeline.start, self._timeline.end))
        yield _text(_WIDTH - _RIGHT, 22, span, anchor="end", colour="#666666")
        yield from self._entries(self._legend, _TITLE + 10)
        yield from self._grid()
        yield from self._stack()
        yield from self._shades()
        yield from self._marks()
        yield from self._ribbon_lines()
        yield from self._axis()
        yield from self._entries(self._phases, self._height - _LINE * len(self._phases) + 8)
        yield "</svg>"

    def _x(self, time: datetime) -> float:
        return _LEFT + self._timeline.share(time) * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, percent: float) -> float:
        return self._bottom - percent / 100 * _PLOT

    def _colour(self, backend: str) -> str:
        if backend == OTHERS:
            return _OTHERS
        return _COLOURS[self._timeline.backends.index(backend) % len(_COLOURS)]

    def _backend_entries(self) -> Iterator[_Entry]:
        last = self._timeline.steps[-1].weights
        when = "at the end" if self._timeline.kanary.deleted_at else "now"
        for backend, name in self._names.items():
            yield _Entry(self._colour(backend), f"{name}, {when} {last.get(backend, 0)} %")

    def _phase_entries(self) -> Iterator[_Entry]:
        present = {span.phase for span in self._timeline.spans}
        yield from (_Entry(colour, phase) for phase, colour in _PHASES.items() if phase in present)
        yield from (_Entry(_UNKNOWN, phase) for phase in sorted(present - _PHASES.keys()))

    def _entries(self, lines: list[list[_Entry]], y: float) -> Iterator[str]:
        for line in lines:
            x = float(_LEFT)
            for entry in line:
                yield f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="11" height="11" rx="2" fill="{entry.colour}"/>'
                yield _text(x + 16, y, escape(entry.text))
                x += _room(entry)
            y += _LINE

    def _grid(self) -> Iterator[str]:
        for percent in (0, 25, 50, 75, 100):
            y = self._y(percent)
            yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>'
            yield _text(_LEFT - 8, y + 4, f"{percent} %", anchor="end", colour="#666666", size=11)

    def _stack(self) -> Iterator[str]:
        """For each backend one area: along its upper edge from left to right, and back along its lower one."""
        floor = [0.0] * len(self._timeline.steps)
        for backend in self._timeline.backends:
            ceiling = [
                low + step.weights.get(backend, 0) for low, step in zip(floor, self._timeline.steps, strict=True)
            ]
            upper = [point for points in self._edges(ceiling) for point in points]
            lower = [point for points in self._edges(floor) for point in points]
            points = " ".join(f"{x:.2f},{y:.2f}" for x, y in [*upper, *reversed(lower)])
            yield f'<polygon points="{points}" fill="{self._colour(backend)}"/>'
            floor = ceiling

    def _edges(self, heights: list[float]) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
        for (_, start, end), height in zip(self._timeline.intervals(), heights, strict=True):
            yield (self._x(start), self._y(height)), (self._x(end), self._y(height))

    def _shades(self) -> Iterator[str]:
        """Over the weights, where they were not served as declared: lighter on the way, hatched where degraded."""
        for span in self._timeline.spans:
            x, end = self._x(span.start), self._x(span.end)
            if span.phase == "Ready" or end - x < _NARROWEST:
                continue
            fill = 'fill="url(#hatch)" fill-opacity="0.75"' if span.phase == "Degraded" else 'fill="#ffffff" '
            opacity = "" if span.phase == "Degraded" else 'fill-opacity="0.45"'
            yield f'<rect x="{x:.2f}" y="{self._top}" width="{end - x:.2f}" height="{_PLOT}" {fill}{opacity}/>'

    def _marks(self) -> Iterator[str]:
        """A line for each revision, its number where there is room, and what it was for those who point at it."""
        steps = [step for step in self._timeline.steps if step.at >= self._timeline.start]
        if len(steps) > _MARKED:
            return
        free = 0.0
        for step in steps:
            x = self._x(step.at)
            yield f'<path d="M{x:.2f} {self._top - 4}V{self._bottom}" stroke="#333333" stroke-width="0.7"/>'
            label = str(step.revision)
            half = width(label) * _LETTER / 2
            if x - half >= free:
                yield _text(x, self._top - 7, label, anchor="middle", size=11, colour="#666666")
                free = x + half + 4
        for step, start, end in self._timeline.intervals():
            yield self._hint(step, self._x(start), self._x(end))

    def _hint(self, step: Step, x: float, end: float) -> str:
        weights = " ".join(f"{backend}={weight}" for backend, weight in step.weights.items())
        text = escape(plain(f"revision {step.revision}, {local_text(step.at)}: {weights} ({step.cause})"))
        return (
            f'<rect x="{x:.2f}" y="{self._top}" width="{max(end - x, 0):.2f}" height="{_PLOT}" fill-opacity="0">'
            f"<title>{text}</title></rect>"
        )

    def _ribbon_lines(self) -> Iterator[str]:
        yield _text(_LEFT - 8, self._ribbon + 12, "phase", anchor="end", colour="#666666", size=11)
        order = [*_PHASES]
        spans = sorted(self._timeline.spans, key=lambda s: order.index(s.phase) if s.phase in order else -1)
        for span in spans:
            x, end = self._x(span.start), self._x(span.end)
            colour = _PHASES.get(span.phase, _UNKNOWN)
            text = escape(f"{span.phase} from {local_text(span.start)} to {local_text(span.end)}")
            yield (
                f'<rect x="{x:.2f}" y="{self._ribbon}" width="{max(end - x, _NARROWEST):.2f}" height="{_RIBBON}" '
                f'fill="{colour}"><title>{text}</title></rect>'
            )

    def _axis(self) -> Iterator[str]:
        y = self._ribbon + _RIBBON
        yield f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="#999999"/>'
        for tick in ticks(self._timeline.start, self._timeline.end, _TICKS):
            x = self._x(tick.at)
            yield f'<path d="M{x:.2f} {y}v5" stroke="#999999"/>'
            yield _text(x, y + 18, tick.label, anchor="middle", size=11, colour="#666666")


def _wrapped(entries: list[_Entry]) -> list[list[_Entry]]:
    """Side by side, on as many lines as it takes."""
    lines: list[list[_Entry]] = [[]]
    x = float(_LEFT)
    for entry in entries:
        if lines[-1] and x + _room(entry) > _WIDTH - _RIGHT:
            lines.append([])
            x = float(_LEFT)
        lines[-1].append(entry)
        x += _room(entry)
    return lines


def _room(entry: _Entry) -> float:
    return 16 + width(entry.text) * _LETTER + 18


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: int = 400, colour: str = "#333333"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{text}</text>'
    )
