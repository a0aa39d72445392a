"""The state machines as pictures, from the tables of transitions: the present state lit, with the moves from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import hypot
from typing import Any

from markupsafe import Markup

from kanary.dashboard.drawing import Canvas
from states import TRANSITIONS, Phase, Transition
from states.rollouts import ROLLOUT_TRANSITIONS, RolloutState

_WIDE, _HIGH = 118, 40
"""Of a state."""
_BEND = 0.16
"""How far an arrow is bent, in its length: two states may have arrows in both directions."""
_LEAST_BEND = 64
_LETTER = 8
"""Of a label, about as wide as a letter."""


@dataclass(frozen=True)
class Machine:
    """A table of transitions, and where its states are drawn."""

    name: str
    rows: tuple[Transition[Any, Any], ...]
    places: Mapping[StrEnum, tuple[float, float]]
    width: float
    height: float

    def moves(self, state: str) -> list[tuple[str, str]]:
        """The triggers and the other states that they lead to from a state."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if state in row.sources and row.destination != state:
                found.setdefault(row.destination, []).append(row.trigger)
        return [(", ".join(triggers), to) for to, triggers in found.items()]

    def picture(self, present: str) -> Markup:
        """The diagram with the present state lit."""
        ways = ", ".join(f"{trigger} to {to}" for trigger, to in self.moves(present)) or "none"
        title = f"State machine of {self.name}; present state: {present or 'none'}; moves from it: {ways}"
        canvas = Canvas(self.width, self.height, title=title, kind="machine")
        # Those from the present state are drawn last, above the others.
        for source in sorted(self.places, key=lambda state: state == present):
            for triggers, to in self.moves(source):
                self._draw_arrow(canvas, source, to, triggers if source == present else "")
        for state, (x, y) in self.places.items():
            group = canvas.add("g", kind=f"state {state}{' present' if state == present else ''}")
            left, top = x - _WIDE / 2, y - _HIGH / 2
            canvas.add("rect", to=group, x=left, y=top, width=_WIDE, height=_HIGH, rx=8)
            canvas.add("text", state, to=group, x=x, y=y + 5, text_anchor="middle")
        return canvas.markup()

    def _draw_arrow(self, canvas: Canvas, source: str, to: str, label: str) -> None:
        (x1, y1), (x2, y2) = (self.places[next(key for key in self.places if key == name)] for name in (source, to))
        length = hypot(x2 - x1, y2 - y1)
        across = (y2 - y1) / length, -(x2 - x1) / length
        # Between neighbours in a row, the label is above the arrow, which is short.
        bend = max(_BEND * length, _LEAST_BEND if y1 == y2 else 0)
        middle = (x1 + x2) / 2 + across[0] * bend, (y1 + y2) / 2 + across[1] * bend
        start, end = _edge((x1, y1), middle), _edge((x2, y2), middle)
        kind = "move possible" if label else "move"
        canvas.add("path", kind=kind, d=f"M{_point(start)}Q{_point(middle)} {_point(end)}")
        _draw_head(canvas, middle, end, kind)
        if label:
            x, y = self._place_of(label, start, middle, end)
            canvas.add("text", label, kind="trigger", x=x, y=y + 4, text_anchor="middle")

    def _place_of(self, label: str, *curve: tuple[float, float]) -> tuple[float, float]:
        """The point of an arrow that is the nearest to its middle and where no state hides the label."""
        points = [_along(curve, part) for part in (0.5, 0.4, 0.6, 0.3, 0.7)]
        wide, high = _WIDE / 2 + len(label) * _LETTER / 2, _HIGH / 2 + _LETTER
        free = (
            (x, y)
            for x, y in points
            if all(abs(x - left) > wide or abs(y - top) > high for left, top in self.places.values())
        )
        return next(free, points[0])


def _along(curve: tuple[tuple[float, float], ...], part: float) -> tuple[float, float]:
    """A point of a quadratic curve."""
    x, y = ((1 - part) ** 2 * a + 2 * part * (1 - part) * m + part**2 * b for a, m, b in zip(*curve, strict=True))
    return x, y


def _edge(centre: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Where a line from the centre of a state leaves it."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    scale = min((_WIDE / 2 + 3) / abs(dx) if dx else 1e9, (_HIGH / 2 + 3) / abs(dy) if dy else 1e9)
    return centre[0] + dx * scale, centre[1] + dy * scale


def _draw_head(canvas: Canvas, before: tuple[float, float], tip: tuple[float, float], kind: str) -> None:
    dx, dy = tip[0] - before[0], tip[1] - before[1]
    length = hypot(dx, dy) or 1.0
    ux, uy = dx / length * 9, dy / length * 9
    one, other = (tip[0] - ux - uy / 2, tip[1] - uy + ux / 2), (tip[0] - ux + uy / 2, tip[1] - uy - ux / 2)
    canvas.add("path", kind=f"{kind} head", d=f"M{_point(tip)}L{_point(one)}L{_point(other)}Z")


def _point(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


_P, _R = Phase, RolloutState
PHASES = Machine(
    "the Kanary",
    TRANSITIONS,
    {
        _P.PENDING: (75, 65),
        _P.RENDERING: (265, 65),
        _P.ROLLING: (455, 65),
        _P.READY: (645, 65),
        _P.DEGRADED: (360, 225),
    },
    720,
    255,
)
ROLLOUTS = Machine(
    "the rollout",
    ROLLOUT_TRANSITIONS,
    {
        _R.WAITING: (75, 85),
        _R.SHIFTING: (290, 85),
        _R.WATCHING: (290, 225),
        _R.COMPLETED: (75, 225),
        _R.ROLLING_BACK: (500, 85),
        _R.ROLLED_BACK: (645, 225),
    },
    720,
    295,
)
