"""Numbers of several rounds, and their presentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, and the quartiles: between these lies the middle half."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Self:
        """Raises StatisticsError when there are none."""
        lower, middle, upper = quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else [numbers[0]] * 3
        return cls(middle, lower, upper)

    def __str__(self) -> str:
        return f"**{self.median:.2f}** ({self.lower:.2f} to {self.upper:.2f})"


def ratios(numbers: Sequence[float], to: Sequence[float]) -> Spread:
    """Each round's number against that of the same round: what slows a whole round down cancels out."""
    return Spread.of([number / base for number, base in zip(numbers, to, strict=True)])


def figures(number: float) -> str:
    """Three significant digits: more would be noise."""
    if abs(number) >= 100:  # noqa: PLR2004 -- where three digits end
        digits = len(str(int(abs(number)))) - 3
        return f"{round(number, -digits):,.0f}"
    return f"{number:#.3g}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
