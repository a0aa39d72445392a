"""A timeline as a picture: weights as stacked steps, phases on a ribbon below, revisions on top."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from xml.etree import ElementTree as ET

from kanary.cli.axis import ticks
from kanary.cli.output import weights_text
from kanary.cli.text import cut, plain, width
from kanary.cli.timeline import OTHERS, PHASES, Timeline
from kanary.cli.times import local_text, span_text

# Distinguishable with impaired colour vision as well (Paul Tol's schemes).
_COLOURS = (
    "#4477aa", "#ee8866", "#44aa77", "#ddbb33", "#77bbdd",
    "#aa4477", "#999933", "#cc99bb", "#225555", "#bbbbbb",
)  # fmt: skip
_OTHERS, _GREY, _DARK = "#bbbbbb", "#666666", "#333333"
_PHASES = dict(zip(PHASES, ("#b7dfc0", "#d5d5d5", "#f4dd9a", "#efb64f", "#d0342c"), strict=True))
_UNKNOWN = "#eeeeee"

_WIDTH, _LEFT, _RIGHT = 960, 56, 936
_PLOT, _LINE, _RIBBON = 260, 20, 16
_LETTER = 6.7  # the width of most at this size
_TICKS = 10
_MARKED = 300
"""Revisions with a line and a text of their own; more would hide the weights."""
_NARROWEST = 1.5


_ROOT = {
    "xmlns": "http://www.w3.org/2000/svg",
    "role": "img",
    "width": str(_WIDTH),
    "fill": _DARK,
    "font-size": "12",
    "font-family": "system-ui, 'DejaVu Sans', sans-serif",
}


def svg(timeline: Timeline) -> str:
    """The picture."""
    return _Picture(timeline).drawn()


class _Picture:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._root = ET.Element("svg", _ROOT)
        self._top = 0.0

    def drawn(self) -> str:
        """From top to bottom."""
        self._add("title", f"Weights of Kanary {self._timeline.title}")
        self._add("rect", width=_WIDTH, height="100%", fill="#ffffff")
        self._text(_LEFT, 22, self._timeline.title, font_size=15, font_weight=600)
        self._text(_RIGHT, 22, span_text(self._timeline.start, self._timeline.end), text_anchor="end", fill=_GREY)
        names = (
            (self._colour(backend), f"{cut(plain(backend), 40)}, {last}")
            for backend, last in self._timeline.last.items()
        )
        self._top = self._legend(names, 44) + 10
        self._grid()
        self._stack()
        self._shades()
        self._marks()
        bottom = self._ribbon(self._top + _PLOT + 6)
        self._axis(bottom)
        phases = ((_PHASES.get(phase, _UNKNOWN), phase) for phase in self._timeline.phases)
        height = self._legend(phases, bottom + 50) - 8
        self._root.set("height", f"{height:g}")
        self._root.set("viewBox", f"0 0 {_WIDTH} {height:g}")
        return ET.tostring(self._root, encoding="unicode") + "\n"

    def _add(self, tag: str, content: str = "", /, **attributes: float | str) -> ET.Element:
        values = {n.replace("_", "-"): v if isinstance(v, str) else f"{v:.6g}" for n, v in attributes.items()}
        element = ET.SubElement(self._root, tag, values)
        element.text = plain(content) or None
        return element

    def _hint(self, element: ET.Element, text: str) -> None:
        """What a browser shows when the pointer is on the element."""
        ET.SubElement(element, "title").text = plain(text)

    def _text(self, x: float, y: float, content: str, **attributes: float | str) -> None:
        self._add("text", content, x=x, y=y, **attributes)

    def _line(self, path: str, colour: str, stroke_width: float = 1) -> None:
        self._add("path", d=path, stroke=colour, stroke_width=stroke_width, fill="none")

    def _x(self, time: datetime) -> float:
        return _LEFT + self._timeline.share(time) * (_RIGHT - _LEFT)

    def _y(self, percent: float) -> float:
        return self._top + (1 - percent / 100) * _PLOT

    def _colour(self, backend: str) -> str:
        if backend == OTHERS:
            return _OTHERS
        return _COLOURS[self._timeline.backends.index(backend) % len(_COLOURS)]

    def _legend(self, entries: Iterable[tuple[str, str]], y: float) -> float:
        """Side by side, on as many lines as it takes; returns where the next line would be."""
        x = float(_LEFT)
        for colour, text in entries:
            room = 34 + width(text) * _LETTER
            if x > _LEFT and x + room > _RIGHT:
                x, y = float(_LEFT), y + _LINE
            self._add("rect", x=x, y=y - 9, width=11, height=11, rx=2, fill=colour)
            self._text(x + 16, y, text)
            x += room
        return y + _LINE

    def _grid(self) -> None:
        for percent in (0, 25, 50, 75, 100):
            self._line(f"M{_LEFT} {self._y(percent)}H{_RIGHT}", "#e4e4e4")
            self._text(_LEFT - 8, self._y(percent) + 4, f"{percent} %", text_anchor="end", fill=_GREY, font_size=11)

    def _stack(self) -> None:
        """For each backend one area: along its upper edge from left to right, and back along its lower one."""
        floor = [0] * len(self._timeline.steps)
        for backend in self._timeline.backends:
            steps = zip(floor, self._timeline.steps, strict=True)
            ceiling = [low + step.weights.get(backend, 0) for low, step in steps]
            corners = [*self._edge(ceiling), *reversed([*self._edge(floor)])]
            points = " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)
            self._add("polygon", points=points, fill=self._colour(backend))
            floor = ceiling

    def _edge(self, percents: list[int]) -> Iterator[tuple[float, float]]:
        for (_, start, end), percent in zip(self._timeline.intervals(), percents, strict=True):
            yield self._x(start), self._y(percent)
            yield self._x(end), self._y(percent)

    def _shades(self) -> None:
        """Over the weights, where they were not served as declared: lighter on the way, hatched where degraded."""
        pattern = ET.SubElement(ET.SubElement(self._root, "defs"), "pattern", id="hatch", width="6", height="6")
        pattern.attrib |= {"patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"}
        ET.SubElement(pattern, "rect", width="2.2", height="6", fill="#ffffff")
        for span in self._timeline.spans:
            x, end = self._x(span.start), self._x(span.end)
            if span.phase == "Ready" or end - x < _NARROWEST:
                continue
            fill, opacity = ("url(#hatch)", 0.75) if span.phase == "Degraded" else ("#ffffff", 0.45)
            self._add("rect", x=x, y=self._top, width=end - x, height=_PLOT, fill=fill, fill_opacity=opacity)

    def _marks(self) -> None:
        """A line for each revision, its number where there is room, and its weights and cause as a hint."""
        steps = [step for step in self._timeline.steps if step.at >= self._timeline.start]
        if len(steps) > _MARKED:
            return
        free = 0.0
        for step in steps:
            x = self._x(step.at)
            self._line(f"M{x:.2f} {self._top - 4}V{self._top + _PLOT}", _DARK, stroke_width=0.7)
            half = width(str(step.revision)) * _LETTER / 2
            if x - half >= free:
                self._text(x, self._top - 7, str(step.revision), text_anchor="middle", font_size=11, fill=_GREY)
                free = x + half + 4
        for step, start, until in self._timeline.intervals():
            x, end = self._x(start), self._x(until)
            hint = f"revision {step.revision}, {local_text(step.at)}: {weights_text(step.weights)} ({step.cause})"
            self._hint(self._add("rect", x=x, y=self._top, width=end - x, height=_PLOT, fill_opacity=0), hint)

    def _ribbon(self, y: float) -> float:
        self._text(_LEFT - 8, y + 12, "phase", text_anchor="end", fill=_GREY, font_size=11)
        for span in chain(*self._timeline.phases.values()):
            x = self._x(span.start)
            wide, fill = max(self._x(span.end) - x, _NARROWEST), _PHASES.get(span.phase, _UNKNOWN)
            rect = self._add("rect", x=x, y=y, width=wide, height=_RIBBON, fill=fill)
            self._hint(rect, f"{span.phase} from {local_text(span.start)} to {local_text(span.end)}")
        return y + _RIBBON

    def _axis(self, y: float) -> None:
        self._line(f"M{_LEFT} {y}H{_RIGHT}", "#999999")
        for tick in ticks(self._timeline.start, self._timeline.end, _TICKS):
            x = self._x(tick.at)
            self._line(f"M{x:.2f} {y}v5", "#999999")
            self._text(x, y + 18, tick.label, text_anchor="middle", font_size=11, fill=_GREY)
