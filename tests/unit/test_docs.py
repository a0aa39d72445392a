"""docs/state-machine.md agrees with the states."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from engine.journal import KEPT_ENTRIES
from kanary import diagram
from states import TRANSITIONS, Phase, Reason, Snapshot, decide, next_phase
from states.timing import FIRST_ENDPOINTS_GRACE, REJECTED_RECHECK
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


def phases_by_reason() -> dict[str, set[str]]:
    return {row[0].strip("`"): set(row[1].split(", ")) for row in section("Reasons")}


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


def test_every_reason_is_reported_once_with_its_meaning_and_the_way_out() -> None:
    assert [row[0].strip("`") for row in section("Reasons")] == [reason.value for reason in Reason]
    assert all(row[2] and row[3] for row in section("Reasons"))


def test_every_phase_of_a_reason_is_one() -> None:
    known = {phase.value for phase in Phase}
    assert [reason for reason, phases in phases_by_reason().items() if not phases <= known] == []


@given(snapshots)
def test_a_reason_is_given_only_in_the_phases_that_the_page_names(snapshot: Snapshot) -> None:
    snapshot = replace(snapshot, fault=None, missing=None, rejection=None)
    decision = decide(snapshot)
    phase = next_phase(snapshot.phase, decision.trigger) if decision.trigger else snapshot.phase
    assert decision.reason in OF_THE_RULES
    assert phase is not None
    assert phase.value in phases_by_reason()[decision.reason.value]


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    assert KEPT_ENTRIES == 10
    assert "The last ten entries" in PAGE
    assert f"for {FIRST_ENDPOINTS_GRACE.total_seconds():.0f} s if some have" in PAGE
    assert f"the operator retries every {REJECTED_RECHECK.total_seconds():.0f} s" in PAGE


def test_other_pages_lead_to_this_one() -> None:
    assert "docs/state-machine.md" in (ROOT / "README.md").read_text()
