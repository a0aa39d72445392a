"""`kanary history NAME --plot`: what is drawn, and that it is well formed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kanary.cli.axis import ticks
from kanary.cli.drawing import cells
from tests.cli.conftest import Kanary, Zone
from tests.cli.record import NAME, ONE, PHASES, at, change, history_of, phase, record, shares, story

SVG = "{http://www.w3.org/2000/svg}"

DRAWN = """\
shop/simple-kanary-rule, 2026-11-23 13:31:02 to 14:21:02 UTC

100 % ┤███████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
      ┤███████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
      ┤█████████████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░
 75 % ┤█████████████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░
      ┤█████████████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░
      ┤█████████████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░
 50 % ┤████████████████████████████████████████████████████████████
      ┤████████████████████████████████████████████████████████████
      ┤████████████████████████████████████████████████████████████
 25 % ┤████████████████████████████████████████████████████████████
      ┤████████████████████████████████████████████████████████████
      ┤████████████████████████████████████████████████████████████
      └──────────┬───────────┬───────────┬───────────┬───────────┬─
               13:40       13:50       14:00       14:10      14:20
phase  R..........R............DDDDDDRR.....R......................

       ██ myapp-v1:http  at the end 50 %
       ░░ myapp-v2:http  at the end 50 %
       . Ready   r Rendering   R Rolling   D Degraded
"""


@pytest.fixture
def ended(tmp_path: Path) -> str:
    """The story of a Kanary that was deleted after 50 minutes, so that it ends."""
    return record(tmp_path / "ended.db", [story()], {"u-1": at(3000)})


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "68")
    monkeypatch.setenv("LINES", "24")


def drawn(kanary: Kanary, url: str, *more: str) -> str:
    printed = kanary("history", NAME, "-n", "shop", "--deleted", "--plot", *more, "--db", url)
    assert (printed.code, printed.err) == (0, "")
    return printed.out


def pictured(kanary: Kanary, url: str, folder: Path, *more: str) -> ET.Element:
    drawn(kanary, url, str(folder / "x.svg"), *more)
    return ET.parse(folder / "x.svg").getroot()


def texts(picture: ET.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def areas(picture: ET.Element) -> list[list[tuple[float, float]]]:
    """The corners of the area of each backend."""
    found = []
    for polygon in picture.iter(f"{SVG}polygon"):
        corners = [corner.split(",") for corner in polygon.attrib["points"].split()]
        found.append([(float(x), float(y)) for x, y in corners])
    return found


# In the terminal


@pytest.mark.usefixtures("_terminal")
def test_weights_are_drawn_as_wide_as_the_terminal(kanary: Kanary, ended: str) -> None:
    assert drawn(kanary, ended) == DRAWN


@pytest.mark.usefixtures("_terminal")
def test_what_is_drawn_begins_where_it_is_told_to_with_what_was_in_force(kanary: Kanary, ended: str) -> None:
    lines = drawn(kanary, ended, "--since", "2026-11-23T13:52").splitlines()
    assert lines[0] == "shop/simple-kanary-rule, 2026-11-23 13:52:00 to 14:21:02 UTC"
    assert lines[2].startswith("100 % ┤░░░░░")
    assert lines[14].strip(" └─┬") == ""
    assert next(line for line in lines if line.startswith("phase")).startswith("phase  DDDDDDDDDRR.")


@pytest.mark.usefixtures("_terminal")
def test_phases_are_known_where_none_changed_since(kanary: Kanary, ended: str) -> None:
    out = drawn(kanary, ended, "--since", "2026-11-23T14:15")
    assert f"phase  {'.' * 60}\n" in out


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.integers(12, 24))
@example([1, 1, 1, 33], 12)
def test_every_share_has_a_cell_and_all_cells_are_shared_out(weights: list[int], rows: int) -> None:
    counts = cells(weights, rows)
    assert sum(counts) == (rows if any(weights) else 0)
    assert [bool(count) for count in counts] == [bool(weight) for weight in weights]


# As a picture


def test_a_picture_is_well_formed_and_says_what_it_shows(kanary: Kanary, ended: str, tmp_path: Path) -> None:
    picture = pictured(kanary, ended, tmp_path)
    assert {
        "shop/simple-kanary-rule",
        "2026-11-23 13:31:02 to 14:21:02 UTC",
        "myapp-v1:http, at the end 50 %",
        "myapp-v2:http, at the end 50 %",
        "Ready",
        "Degraded",
        "0 %",
        "100 %",
        "14:00",
    } <= set(texts(picture))


def test_areas_are_steps_at_the_times_of_the_changes(kanary: Kanary, ended: str, tmp_path: Path) -> None:
    first, second = areas(pictured(kanary, ended, tmp_path))
    left, right, top, height = 56, 936, 0, 260
    xs = [left + (right - left) * seconds / 3000 for seconds in (0, 593, 1868, 3000)]
    bottom = first[-1][1]
    heights = [round((bottom - y) / height * 100) for _, y in first[:6]]
    assert heights == [100, 100, 80, 80, 50, 50]
    assert [x for x, _ in first[:6]] == pytest.approx([xs[0], xs[1], xs[1], xs[2], xs[2], xs[3]], abs=0.01)
    assert [round((bottom - y) / height * 100) for _, y in second[:6]] == [100] * 6
    assert top < min(y for _, y in second)


def test_pointing_at_a_step_tells_its_revision_and_cause(kanary: Kanary, ended: str, tmp_path: Path) -> None:
    titles = [title.text for title in pictured(kanary, ended, tmp_path).iter(f"{SVG}title")]
    assert "revision 3, 2026-11-23 14:02:10: myapp-v1:http=50 myapp-v2:http=50 (raise to half (JIRA-12))" in titles
    assert "Degraded from 2026-11-23 13:51:02 to 2026-11-23 13:56:02" in titles


def test_nothing_that_is_recorded_gets_into_the_markup(kanary: Kanary, tmp_path: Path) -> None:
    evil = change(1, 0, shares(**{"a<b>&\"'": 100}), "</title><script>\x00\x1b")
    url = record(tmp_path / "h.db", [history_of(evil)], {"u-1": at(10)})
    picture = pictured(kanary, url, tmp_path)
    assert [element for element in picture.iter() if "script" in str(element.tag)] == []
    assert "a<b>&\"':http, at the end 100 %" in texts(picture)


def test_many_backends_and_changes_make_a_picture_of_bounded_size(kanary: Kanary, tmp_path: Path) -> None:
    """More revisions than are drawn, with 29 backends in all."""
    weights = [shares(**{f"v{k}": 4 for k in range(first, first + 25)}) for first in range(5)]
    changes = [change(n, n * 60, weights[n % 5], "more") for n in range(1, 2501)]
    moves = [phase(n * 60, "Ready Rolling", "roll", "R") for n in range(1, 2501)]
    url = record(tmp_path / "h.db", [history_of(*changes, *moves)], {"u-1": at(2600 * 60)})
    picture = pictured(kanary, url, tmp_path)
    assert len(areas(picture)) == 10
    assert (tmp_path / "x.svg").stat().st_size < 2_000_000
    assert [text for text in texts(picture) if text.startswith("others, at the end")] != []


def test_one_moment_can_be_drawn(kanary: Kanary, tmp_path: Path) -> None:
    """A Kanary that was deleted as soon as it was there, and whose transitions are gone."""
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE))], {"u-1": at(0)})
    assert len(areas(pictured(kanary, url, tmp_path))) == 1
    assert "phase" not in drawn(kanary, url)


def test_earlier_ones_of_the_same_name_are_not_mixed_in(kanary: Kanary, tmp_path: Path) -> None:
    gone = history_of(change(1, -900, shares(other=100)), uid="u-0")
    url = record(tmp_path / "h.db", [gone, story()], {"u-0": at(5), "u-1": at(3000)})
    assert len(areas(pictured(kanary, url, tmp_path))) == 2


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("x.png", "--plot x.png: pictures are SVG: name a file that ends in .svg"),
        ("/nowhere/x.svg", "/nowhere/x.svg cannot be written: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_drawn_is_told(kanary: Kanary, ended: str, file: str, told: str) -> None:
    printed = kanary("history", NAME, "-n", "shop", "--deleted", "--plot", file, "--db", ended)
    assert (printed.code, printed.out, printed.err) == (1, "", f"kanary: {told}\n")


def test_a_picture_may_have_no_name_but_its_suffix(
    kanary: Kanary, ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert kanary("history", NAME, "-n", "shop", "--deleted", "--plot", ".svg", "--db", ended).code == 0
    assert (tmp_path / ".svg").exists()


def test_what_has_no_change_cannot_be_drawn(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*PHASES)])
    printed = kanary("history", NAME, "-n", "shop", "--plot", "--db", url)
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == f"kanary: there is nothing to draw: the history has no weight change of {NAME}\n"


# The axis

moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(moments, st.floats(1, 4e8), st.integers(2, 12))
def test_ticks_are_few_in_order_and_between_the_ends(start: datetime, seconds: float, most: int) -> None:
    end = start + timedelta(seconds=seconds)
    found = [tick.at for tick in ticks(start, end, most)]
    assert len(found) <= most + 2
    assert found == sorted(set(found))
    assert all(start <= time <= end for time in found)


def test_ticks_are_round_local_times_on_both_sides_of_a_change_of_clocks(zone: Zone) -> None:
    zone("Europe/Berlin")
    start = datetime.fromisoformat("2026-10-24T20:00+00:00")
    labels = [tick.label for tick in ticks(start, start + timedelta(days=1), 10)]
    assert labels == ["25 Oct", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]


@pytest.mark.parametrize(
    ("seconds", "pattern"),
    [(9, r"\d\d:\d\d:\d\d"), (7200, r"\d\d:\d\d"), (864_000, r"\d+ [A-Z]\w\w"), (3e7, r"[A-Z]\w\w \d{4}")],
)
def test_labels_are_as_fine_as_the_ticks(seconds: float, pattern: str) -> None:
    labels = [tick.label for tick in ticks(at(0), at(seconds), 8)]
    assert labels
    assert [label for label in labels if not re.fullmatch(pattern, label)] == []
