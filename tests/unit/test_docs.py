"""docs/state-machine.md and docs/reasons.md agree with the states."""

import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given

from engine.journal import KEPT_ENTRIES
from kanary import diagram, reasons_page
from kanary.history.faults import FaultReason
from states import TRANSITIONS, ConditionReason, EventReason, Phase, Reason, Snapshot, decide, next_phase
from states.explanation import Explanation
from states.timing import (
    EXHAUSTION_REPORTED,
    FIRST_ENDPOINTS_GRACE,
    LOAD_LIMIT,
    REJECTED_RECHECK,
    UNREACHED_LIMIT,
)
from tests.unit.snapshots import snapshots

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / diagram.PAGE).read_text()
PHASES = diagram.parts()["diagram"]
OF_THE_RULES = {
    Reason.WAITING_FOR_ENDPOINTS,
    Reason.PAUSED,
    Reason.NO_READY_ENDPOINTS,
    Reason.ROUTE_WITHOUT_ENDPOINTS,
    Reason.ROUTE_UNREACHABLE,
    Reason.PROGRESS_DEADLINE_EXCEEDED,
    Reason.REJECTED_BY_HAPROXY,
    Reason.PROXIES_EXHAUSTED,
    Reason.CONFIGURATION_CHANGED,
    Reason.REPLACING_PROXIES,
    Reason.ROLLING_OUT,
    Reason.SERVING,
}


def section(title: str) -> list[list[str]]:
    """The cells of the rows of a section's table, without the head."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_generated_parts_are_what_the_states_say() -> None:
    assert diagram.updated(PAGE) == PAGE, f"run: python -m kanary.diagram (writes {diagram.PAGE})"


def test_the_page_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / diagram.PAGE).write_text(PAGE.replace("Rolling --> Ready: complete", "Ready --> Rolling: undo"))
    assert diagram.main() == 0
    assert (tmp_path / diagram.PAGE).read_text() == PAGE


def test_a_page_without_a_place_for_a_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for 'table'"):
        diagram.updated(PAGE.replace("<!-- end of table -->", ""))


def test_the_diagram_has_an_arrow_for_each_move_and_no_other() -> None:
    arrows = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", PHASES, re.MULTILINE))
    assert arrows == {
        (source.value, row.destination.value, row.trigger.value) for row in TRANSITIONS for source in row.sources
    }


def test_the_diagram_begins_where_a_kanary_begins() -> None:
    assert "\n    [*] --> Pending\n" in PHASES
    assert PHASES.startswith("```mermaid\nstateDiagram-v2\n")


def test_every_phase_is_reported() -> None:
    assert [row[0].strip("*") for row in section("Phases")] == [phase.value for phase in Phase]
    assert all(row[1] and row[2] for row in section("Phases"))


@given(snapshots)
def test_a_reason_is_given_only_in_the_phases_that_the_catalogue_names(snapshot: Snapshot) -> None:
    snapshot = replace(snapshot, fault=None, missing=None, rejection=None)
    decision = decide(snapshot)
    phase = next_phase(snapshot.phase, decision.trigger) if decision.trigger else snapshot.phase
    assert decision.reason in OF_THE_RULES
    assert phase is not None
    assert phase in explanation_of(decision.reason).phases


def test_numbers_in_the_texts_are_those_of_the_code() -> None:
    assert KEPT_ENTRIES == 10
    assert "The last ten entries" in PAGE
    grace = f"for {FIRST_ENDPOINTS_GRACE.total_seconds():.0f} s if some have"
    assert grace in explanation_of(Reason.WAITING_FOR_ENDPOINTS).meaning
    for reason in (Reason.REJECTED_BY_CLUSTER, Reason.OBJECT_EXISTS):
        assert f"retries every {REJECTED_RECHECK.total_seconds():.0f} s" in explanation_of(reason).remedy
    assert f"within {LOAD_LIMIT.total_seconds():.0f} s" in explanation_of(Reason.REPLACING_PROXIES).cause
    assert f"for {UNREACHED_LIMIT.total_seconds():.0f} s" in explanation_of(Reason.ROUTE_UNREACHABLE).meaning
    reported = f"for {EXHAUSTION_REPORTED.total_seconds() / 60:.0f} minutes"
    assert reported in explanation_of(Reason.PROXIES_EXHAUSTED).remedy


REASONS: tuple[type[StrEnum], ...] = (Reason, EventReason, ConditionReason, FaultReason)


def explanation_of(reason: str) -> Explanation:
    return next(found[reason] for found in reasons_page.ALL.values() if reason in found)


def test_the_catalogue_has_every_reason_once_and_no_other() -> None:
    listed = [reason for found in reasons_page.ALL.values() for reason in found]
    assert sorted(listed) == sorted(reason for kind in REASONS for reason in kind)


def test_every_explanation_is_complete() -> None:
    for found in reasons_page.ALL.values():
        for reason, explanation in found.items():
            texts = (explanation.meaning, explanation.cause, explanation.remedy)
            assert all(text.endswith(".") for text in texts), reason
            assert bool(explanation.phases) is (reason in set(Reason)), reason


def test_the_page_of_the_reasons_is_what_the_catalogue_says() -> None:
    assert (ROOT / reasons_page.PAGE).read_text() == reasons_page.text(), "run: make manifests"


def test_no_reason_of_an_event_or_a_condition_is_written_elsewhere() -> None:
    """A reason in a text of the code would not be in the catalogue."""
    literal = re.compile(r"""(?:Announcement\(|reason=|Recording\([^,]+,)\s*f?["'][A-Z]""")
    sources = [path for folder in ("states", "engine", "kanary") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in sources if literal.search(path.read_text())] == []


def test_other_pages_lead_to_this_one() -> None:
    assert "docs/state-machine.md" in (ROOT / "README.md").read_text()


def test_what_nobody_can_do_has_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text().partition("## What cannot be done\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    named = [re.search(r"\| `(tests/\S+\.py)::(\w+)` \|$", row) for row in rows]
    assert all(named), rows
    for file, name in (found.groups() for found in named if found):
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"
