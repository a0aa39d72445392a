"""Writes the generated parts of docs/state-machine.md from the states.

`python -m kanary.diagram` writes them in place; a test fails if they differ from what this module writes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from states import RULES, TRANSITIONS, Phase, Transition, Trigger, next_phase
from states.rollout_rules import ROLLOUT_RULES
from states.rollouts import ROLLOUT_TRANSITIONS, RolloutState

PAGE = Path("docs/state-machine.md")


def diagram(first: StrEnum, rows: Iterable[Transition[Any, Any]]) -> str:
    """A table of transitions as a Mermaid state diagram."""
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *_arrows(rows), "```"])


def _arrows(rows: Iterable[Transition[Any, Any]]) -> Iterator[str]:
    for row in rows:
        for source in row.sources:
            yield f"    {source} --> {row.destination}: {row.trigger}"


def table() -> str:
    """The phase that each trigger leads to from each phase."""
    head = ["phase", *(f"`{trigger}`" for trigger in Trigger)]
    rows = [[f"**{phase}**", *((next_phase(phase, trigger) or "") for trigger in Trigger)] for phase in Phase]
    return _table(head, rows)


def rules(chain: Iterable[Callable[..., Any]]) -> str:
    """The rules in their order, each with the first line of its docstring."""
    described = [(rule.__name__, (rule.__doc__ or "").splitlines()[0]) for rule in chain]
    return _table(
        ["", "rule", "meaning"], [[str(n), f"`{name}`", text] for n, (name, text) in enumerate(described, start=1)]
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def parts() -> Mapping[str, str]:
    """Every generated part, by its name in the page."""
    return {
        "diagram": diagram(Phase.PENDING, TRANSITIONS),
        "table": table(),
        "rules": rules(RULES),
        "rollout diagram": diagram(RolloutState.COMPLETED, ROLLOUT_TRANSITIONS),
        "rollout rules": rules(ROLLOUT_RULES),
    }


def updated(page: str) -> str:
    """The page with its generated parts updated. Raises ValueError if the markers of one are missing."""
    for name, text in parts().items():
        start, end = f"<!-- {name}: made by python -m kanary.diagram -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the page has no place for {name!r} between the lines {start.strip()} and {end}")
        page = f"{before}{start}\n{text}\n\n{end}{after}"
    return page


def main() -> int:
    """Write the generated parts of the page in the current folder."""
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
