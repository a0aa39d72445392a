"""The pictures of the state machines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from kanary.dashboard.diagrams import PHASES, ROLLOUTS, Machine

LETTER = 6.5
"""At least as wide as the mean of a label's letters, and less than half as high as they are."""
STATE = re.compile(r'<rect[^>]* x="([\d.]+)"[^>]* y="([\d.]+)"[^>]* width="([\d.]+)"[^>]* height="([\d.]+)"')
LABEL = re.compile(r'<text[^>]*class="trigger"[^>]* x="([\d.]+)"[^>]* y="([\d.]+)"[^>]*>([^<]*)')

Box = tuple[float, float, float, float]


def boxes(picture: str) -> Iterator[Box]:
    """Left, top, right and bottom of the states and the labels."""
    for left, top, width, height in STATE.findall(picture):
        yield float(left), float(top), float(left) + float(width), float(top) + float(height)
    for x, y, text in LABEL.findall(picture):
        half = len(text) * LETTER / 2
        yield float(x) - half, float(y) - 4 - LETTER, float(x) + half, float(y) - 4 + LETTER


@pytest.mark.parametrize("machine", [PHASES, ROLLOUTS], ids=lambda machine: machine.name)
def test_no_state_hides_the_name_of_a_move_and_all_are_inside(machine: Machine) -> None:
    for state in machine.places:
        picture = str(machine.picture(state))
        found = list(boxes(picture))
        assert len(found) == len(machine.places) + len(machine.moves(state))
        for left, top, right, bottom in found:
            assert left >= 0 <= top
            assert right <= machine.width
            assert bottom <= machine.height
        for one, other in itertools.combinations(found, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (state, one, other)
