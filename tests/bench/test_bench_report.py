from __future__ import annotations

from pathlib import Path

import pytest

from bench.report import REPORT, TITLES, put, replace_section, sections


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "performance.md"


def test_a_new_file_has_a_marked_place_for_every_section_in_their_order(report: Path) -> None:
    put(report, "split", "exact")
    assert list(sections(report.read_text())) == list(TITLES)


def test_a_section_is_replaced_and_the_others_stay(report: Path) -> None:
    put(report, "split", "exact")
    put(report, "change", "in a second")
    put(report, "split", "still exact")
    found = sections(report.read_text())
    assert found["split"] == f"## {TITLES['split']}\n\nstill exact"
    assert found["change"] == f"## {TITLES['change']}\n\nin a second"


def test_writing_a_section_again_changes_nothing(report: Path) -> None:
    put(report, "how", "so")
    put(report, "load", "| a |\n\ntext")
    before = report.read_text()
    put(report, "load", "| a |\n\ntext")
    assert report.read_text() == before


def test_what_stands_before_the_sections_stays(report: Path) -> None:
    report.write_text("# By hand\n\nA word of welcome.\n")
    put(report, "load", "fast")
    put(report, "stream", "long")
    assert report.read_text().startswith("# By hand\n\nA word of welcome.\n\n<!-- begin how -->")


def test_a_section_that_is_not_known_is_refused_and_nothing_is_written(report: Path) -> None:
    with pytest.raises(KeyError):
        put(report, "weather", "fine")
    assert not report.exists()


def test_the_report_of_this_repository_has_all_of_its_sections() -> None:
    assert list(sections(REPORT.read_text())) == list(TITLES)


def test_a_section_of_any_page_is_replaced_in_its_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- begin one -->\nold\n<!-- end one -->\n\ntext\n")
    replace_section(page, "one", "new")
    assert page.read_text() == "# Title\n\n<!-- begin one -->\nnew\n<!-- end one -->\n\ntext\n"


def test_a_section_that_a_page_does_not_have_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n")
    with pytest.raises(ValueError, match="no place for 'one' between the lines <!-- begin one -->"):
        replace_section(page, "one", "new")
