"""Writes the tables of docs/metrics.md from the operator's metrics.

`python -m kanary.metrics_page` writes them in place; a test fails if they differ from what this module writes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kanary.operator.families import COMMON_LABELS, COUNTERS, GAUGES, Family
from kanary.operator.metrics import Description, Metrics

PAGE = Path("docs/metrics.md")
_START = "<!-- {}: made by python -m kanary.metrics_page -->\n"
_END = "<!-- end of {} -->"


def tables() -> Mapping[str, str]:
    """Each table, by its name in the page."""
    of_kanaries = (*map(_description, GAUGES), *map(_description, COUNTERS))
    return {"kanaries": _table(of_kanaries), "operator": _table(Metrics().of_operator)}


def _description(family: Family[Any]) -> Description:
    return Description(family.name, family.kind, (*COMMON_LABELS, *family.labels), family.meaning)


def _table(rows: Iterable[Description]) -> str:
    lines = [("metric", "type", "labels", "meaning"), ("---",) * 4]
    lines += [(f"`{row.name}`", row.kind, ", ".join(f"`{label}`" for label in row.labels), row.meaning) for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def updated(page: str) -> str:
    """The page with its tables updated. Raises ValueError if the markers of one are missing."""
    for name, text in tables().items():
        before, found, rest = page.partition(_START.format(name))
        _, closed, after = rest.partition(_END.format(name))
        if not (found and closed):
            raise ValueError(f"{PAGE} has no place for the table {name!r}")
        page = f"{before}{found}\n{text}\n{closed}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
