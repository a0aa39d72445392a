"""Draws a timeline as a picture: weights as stacked steps, a mark for each revision, and a ribbon of phases below."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import cycle
from math import ceil
from xml.etree import ElementTree as ET

from kanary.cli.output import weights_of, weights_text
from kanary.cli.text import cut
from kanary.cli.timeline import PHASES, Timeline, ticks
from kanary.cli.times import local_text, span_text
from states.texts import plain

# Distinguishable with impaired colour vision as well (Paul Tol's schemes).
_COLOURS = ("#47a", "#e86", "#4a7", "#db3", "#7bd", "#a47", "#993", "#c9b", "#255", "#bbb")
_PHASES = dict(zip(PHASES, ("#b7dfc0", "#d5d5d5", "#f4dd9a", "#efb64f", "#d0342c"), strict=True))
_STYLE = {"font-family": "system-ui, 'DejaVu Sans', sans-serif", "font-size": "12", "fill": "#333"}
_LETTER = 6.7  # width of most letters
_LEFT, _RIGHT = 56, 936
_TOP, _BOTTOM, _RIBBON, _AXIS, _LEGEND = 56, 316, 322, 338, 386
"""Edges of the weights, and the upper edges of the ribbon, the axis and the legend below them."""


def svg(timeline: Timeline) -> str:
    """The picture as an SVG document. It depends only on the timeline and the local time zone."""
    return ET.tostring(_Picture(timeline).root, encoding="unicode") + "\n"


class _Picture:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **_STYLE})
        self._add("title", f"Weights of Kanary {timeline.title}")
        self._add("rect", width="100%", height="100%", fill="#fff")
        self._add("text", timeline.title, x=_LEFT, y=20, font_weight="bold")
        self._add("text", span_text(timeline.start, timeline.end), x=_RIGHT, y=20, text_anchor="end")
        backends = dict(zip(timeline.backends, cycle(_COLOURS), strict=False))
        phases = {change.to: _PHASES.get(change.to, "#eee") for *_, change in timeline.phases}
        self._draw_weights(backends)
        self._draw_phases(phases)
        self._draw_scales()
        lasts = {f"{backend}, {last}": backends[backend] for backend, last in timeline.backends.items()}
        height = self._draw_legend(phases, self._draw_legend(lasts, _LEGEND, 2), 8)
        self.root.set("viewBox", f"0 0 960 {height}")

    def _add(self, tag: str, content: str = "", *, to: ET.Element | None = None, **values: float | str) -> ET.Element:
        attributes = {name.replace("_", "-"): v if isinstance(v, str) else f"{v:.6g}" for name, v in values.items()}
        element = ET.SubElement(self.root if to is None else to, tag, attributes)
        element.text = plain(content) or None
        return element

    def _x(self, time: datetime) -> float:
        return _LEFT + self._timeline.place(time) * (_RIGHT - _LEFT)

    def _draw_weights(self, colours: Mapping[str, str]) -> None:
        """Draw a group for each revision, with a tooltip, and with its number if there is room."""
        free = 0.0
        for start, end, change in self._timeline.weights:
            step, weights = self._add("g", shape_rendering="crispEdges"), weights_of(change.after)
            x, wide, y = self._x(start), self._x(end) - self._x(start), float(_BOTTOM)
            hint = f"revision {change.revision}, {local_text(change.at)}: {weights_text(weights)} ({change.cause})"
            self._add("title", hint, to=step)
            for backend, colour in colours.items():
                if height := float(weights.get(backend, 0)) / 100 * (_BOTTOM - _TOP):
                    y -= height
                    self._add("rect", to=step, x=x, y=y, width=wide, height=height, fill=colour)
            half = len(f"{change.revision}") * _LETTER / 2
            if change.at >= self._timeline.start and x - half >= free:
                self._add("path", d=f"M{x:.2f} {_TOP}v-5", stroke="#333")
                self._add("text", f"{change.revision}", x=x, y=_TOP - 8, text_anchor="middle")
                free = x + half + 8

    def _draw_phases(self, colours: Mapping[str, str]) -> None:
        self._add("text", "phase", x=_LEFT - 8, y=_AXIS - 4, text_anchor="end")
        for start, end, change in self._timeline.phases:
            x, wide = self._x(start), max(1.5, self._x(end) - self._x(start))
            rect = self._add("rect", x=x, y=_RIBBON, width=wide, height=_AXIS - _RIBBON, fill=colours[change.to])
            self._add("title", f"{change.to} from {local_text(start)} to {local_text(end)}", to=rect)

    def _draw_scales(self) -> None:
        for percent in (0, 25, 50, 75, 100):
            y = _BOTTOM - percent / 100 * (_BOTTOM - _TOP)
            self._add("path", d=f"M{_LEFT} {y:g}H{_RIGHT}", stroke="#fff", stroke_opacity=0.4)
            self._add("text", f"{percent} %", x=_LEFT - 8, y=y + 4, text_anchor="end")
        for time, label in ticks(self._timeline.start, self._timeline.end, 10):
            self._add("path", d=f"M{self._x(time):.2f} {_AXIS}v5", stroke="#333")
            self._add("text", label, x=self._x(time), y=_AXIS + 18, text_anchor="middle")

    def _draw_legend(self, colours: Mapping[str, str], y: int, columns: int) -> int:
        """Draw a legend; returns the y coordinate of the line below it."""
        wide = (_RIGHT - _LEFT) // columns
        for number, (text, colour) in enumerate(colours.items()):
            x, line = _LEFT + number % columns * wide, y + number // columns * 20
            self._add("rect", x=x, y=line - 9, width=11, height=11, rx=2, fill=colour)
            self._add("text", cut(plain(text), int(wide / _LETTER) - 3), x=x + 16, y=line)
        return y + ceil(len(colours) / columns) * 20
