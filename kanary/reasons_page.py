"""Writes docs/reasons.md from the catalogue of reasons.

`python -m kanary.reasons_page` writes it in place; a test fails when it is not what this module writes.
"""

from collections.abc import Mapping
from pathlib import Path

from kanary.history.faults import FAULT_REASONS
from states.catalogue import CATALOGUE
from states.explanation import Explanation
from states.outlook import OUTLOOKS, Outlook
from states.phases import Phase
from states.reasons import Reason

PAGE = Path("docs/reasons.md")
ALL: Mapping[str, Mapping[str, Explanation]] = {
    **CATALOGUE,
    "The history (condition HistoryRecorded, and the history's API)": FAULT_REASONS,
}
"""The explanation of every reason, by a heading."""
_HEAD = """\
# Reasons

<!-- Made by python -m kanary.reasons_page. -->

`status.reason`, the conditions Ready, Reconciling and Stalled, and the Event of a change have the same reason, and
`status.rollout.reason` is that of the rollout. The message names the field, the value found and the way out.
`kanary explain REASON` prints an entry of this page without a cluster.
"""


def explanation_of(reason: str) -> Explanation | None:
    """The explanation of a reason; None if this version does not have it."""
    return next((found[reason] for found in ALL.values() if reason in found), None)


def text() -> str:
    """The whole page."""
    sections = (f"\n## {heading}\n{''.join(map(_entry, found, found.values()))}" for heading, found in ALL.items())
    return _HEAD + "".join(sections)


def _entry(reason: str, explanation: Explanation) -> str:
    phases = f"- **Phase**: {' or '.join(explanation.phases)}\n" if explanation.phases else ""
    return f"""
### {reason}

{explanation.meaning}

{phases}{_condition(reason, explanation)}- **Cause**: {explanation.cause}
- **Remedy**: {explanation.remedy}
"""


def _condition(reason: str, explanation: Explanation) -> str:
    if not explanation.phases or explanation.phases == (Phase.READY,):
        return ""
    outlook = OUTLOOKS[Reason(reason)]
    return f"- **Condition**: {'neither Reconciling nor Stalled' if outlook is Outlook.HELD else outlook.value}\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
