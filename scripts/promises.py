"""Writes the tables that the tests of tests/promises have measured into docs/promises.md: `make promises`."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from bench.report import replace_section

ROOT = Path(__file__).parent.parent
_TITLE = re.compile(r"Promise (\d): ")


def main() -> None:
    """Replace the tables of the page; a promise without a new table keeps its former one."""
    found = defaultdict(list)
    blocks = (ROOT / "build" / "tables.txt").read_text().strip().split("\n\n")
    for title, rows in zip(blocks[::2], blocks[1::2], strict=True):
        if promise := _TITLE.match(title):
            found[promise[1]].append(f"```\n{title[promise.end() :]}\n\n{rows}\n```\n")
    for number, tables in found.items():
        replace_section(ROOT / "docs" / "promises.md", f"promise_{number}", "\n".join(tables))


if __name__ == "__main__":
    main()
