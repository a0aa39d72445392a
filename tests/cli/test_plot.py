"""`kanary history NAME --plot`: the content of the drawings, and that they are well formed."""

from __future__ import annotations

import io
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanary.cli.main import main
from kanary.cli.timeline import ticks
from tests.cli.conftest import Kanary, Zone, into
from tests.cli.record import NAME, ONE, PHASES, THREE, TWO, at, change, history_of, phase, record, shares, story

SVG = "{http://www.w3.org/2000/svg}"

DRAWN = """\
shop/simple-kanary-rule, 2026-11-23 13:31:02 to 14:21:02 UTC

myapp-v1:http  ███████▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄  at the end 50 %
myapp-v2:http         ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄  at the end 50 %
phase          R......R.......DDDDR...R..............
                         |13:45      |14:00

. Ready   r Rendering   R Rolling   D Degraded
"""


class Terminal(io.StringIO):
    """A terminal that shows every character."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def ended(tmp_path: Path) -> str:
    """The story of a Kanary that was deleted after 50 minutes, so that the drawing has a fixed end."""
    return record(tmp_path / "ended.db", [story()], {"u-1": at(3000)})


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")


def drawn(kanary: Kanary, url: str, *more: str) -> str:
    printed = kanary("history", NAME, "-n", "shop", "--deleted", "--plot", *more, "--db", url)
    assert (printed.code, printed.err) == (0, "")
    return printed.out


def row(text: str, name: str) -> str:
    """The cells of a row, with leading blanks."""
    line = next(line for line in text.splitlines() if line.startswith(name))
    return re.sub(r"  (now|at the end) [\d.]+ %$", "", line).removeprefix(name)[2:]


def pictured(kanary: Kanary, url: str, folder: Path, *more: str) -> ET.Element:
    drawn(kanary, url, str(folder / "x.svg"), *more)
    return ET.parse(folder / "x.svg").getroot()


def texts(picture: ET.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def steps(picture: ET.Element) -> list[list[tuple[float, float, float, float]]]:
    """The rectangles of each step from left to right: x, width, lower edge and height in percent."""
    found = []
    for group in picture.iter(f"{SVG}g"):
        numbers = [[float(r.attrib[name]) for name in ("x", "width", "y", "height")] for r in group.iter(f"{SVG}rect")]
        found.append([(x, wide, (316 - y - high) / 2.6, high / 2.6) for x, wide, y, high in numbers])
    return found


# In the terminal


@pytest.mark.usefixtures("_terminal")
def test_each_backend_has_a_row_as_wide_as_the_terminal(kanary: Kanary, ended: str) -> None:
    assert drawn(kanary, ended) == DRAWN


def test_a_drawing_that_is_piped_has_80_columns(kanary: Kanary, ended: str) -> None:
    assert max(map(len, drawn(kanary, ended).splitlines())) == 80


@pytest.mark.usefixtures("_terminal")
def test_what_is_drawn_begins_where_it_is_told_to_with_what_was_in_force(kanary: Kanary, ended: str) -> None:
    out = drawn(kanary, ended, "--since", "2026-11-23T13:52")
    assert out.startswith("shop/simple-kanary-rule, 2026-11-23 13:52:00 to 14:21:02 UTC\n")
    assert row(out, "myapp-v1:http") == "▆" * 13 + "▄" * 25
    assert row(out, "phase        ").startswith("DDDDDDR.")


@pytest.mark.usefixtures("_terminal")
def test_phases_are_known_where_none_changed_since(kanary: Kanary, ended: str) -> None:
    assert row(drawn(kanary, ended, "--since", "2026-11-23T14:15"), "phase        ") == "." * 38


@pytest.mark.usefixtures("_terminal")
def test_a_phase_that_is_not_in_the_history_is_blank(kanary: Kanary, tmp_path: Path) -> None:
    """Retention deletes the phase changes of a flapping Kanary earlier than its weight changes."""
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE), PHASES[5])], {"u-1": at(2400)})
    assert re.fullmatch(r" {18,19}D{18,20}", row(drawn(kanary, url), "phase        "))


@pytest.mark.parametrize(
    ("weight", "signs"),
    [(0, "  "), (0.1, "▁0"), (1, "▁0"), (20, "▂2"), (50, "▄5"), (99, "▇9"), (99.9, "▇9"), (100, "█#")],
)
def test_a_weight_is_visible_and_only_100_percent_is_full(
    kanary: Kanary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: float, signs: str
) -> None:
    changes = change(1, 0, shares(v1=50, v2=50)), change(2, 1, shares(v1=weight, v2=round(100 - weight, 1)))
    url = record(tmp_path / "h.db", [history_of(*changes)], {"u-1": at(10_000)})
    assert set(row(drawn(kanary, url), "v1:http")) == {signs[0]}
    monkeypatch.setattr("kanary.cli.plot.is_unicode", lambda stream: False)
    out = drawn(kanary, url)
    assert out.isascii()
    assert set(row(out, "v1:http")) == {signs[1]}
    assert "0 to 9 are tens of percent, # is 100 %" in out


def test_any_number_of_backends_is_drawn_each_in_its_row(kanary: Kanary, tmp_path: Path) -> None:
    """A Service for each version; the last one has weight 100."""
    changes = [change(n, n * 100, shares(**{f"web-v{n}": 100})) for n in range(1, 41)]
    out = drawn(kanary, record(tmp_path / "h.db", [history_of(*changes)], {"u-1": at(4100)}))
    assert [line.split()[0] for line in out.splitlines() if ":http" in line] == [f"web-v{n}:http" for n in range(1, 41)]
    assert "".join(row(out, f"web-v{n}:http".ljust(12)).strip() for n in range(1, 41)) == "█" * 48
    assert out.count("at the end 0 %") == 39
    assert out.count("at the end 100 %") == 1


def test_a_column_shows_the_weights_at_its_end_and_its_most_severe_phase(kanary: Kanary, tmp_path: Path) -> None:
    """Three minutes of other weights and of Degraded, an hour before the end of a day."""
    brief = (change(2, 82_800, TWO), change(3, 82_980, ONE))
    moves = (phase(0, "Rolling Ready", "a", "A"), phase(82_800, "Ready Degraded", "b", "B"))
    history = history_of(change(1, 0, ONE), *brief, *moves, phase(82_980, "Degraded Ready", "c", "C"))
    out = drawn(kanary, record(tmp_path / "h.db", [history], {"u-1": at(86_400)}))
    assert (set(row(out, "myapp-v1:http")), row(out, "myapp-v2:http").strip()) == ({"█"}, "")
    assert re.fullmatch(r"\.+D\.{1,3}", row(out, "phase        "))


def test_a_phase_of_a_newer_version_is_marked_as_unknown_and_covers_no_other(kanary: Kanary, tmp_path: Path) -> None:
    moves = [phase(0, "Ready Draining\x1b[31m", "a", "A"), phase(5000, "Draining Ready", "b", "B")]
    out = drawn(kanary, record(tmp_path / "h.db", [history_of(change(1, 0, ONE), *moves)], {"u-1": at(10_000)}))
    assert re.fullmatch(r"\?{20,}\.{20,}", row(out, "phase        "))
    assert "\n? Draining\\x1b[31m   . Ready\n" in out


def test_control_characters_of_names_do_not_reach_the_terminal(kanary: Kanary, tmp_path: Path) -> None:
    evil = change(1, 0, shares(**{"a\x1b[31m\n": 100}), "\x1b[2J")
    out = drawn(kanary, record(tmp_path / "h.db", [history_of(evil)], {"u-1": at(10)}))
    assert "\na\\x1b[31m :http  ███" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_longer_than_the_terminal_and_versions_stay_distinct(
    kanary: Kanary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    weights = shares(**{f"{'long-' * 11}name-v{n}": 50 for n in (1, 2)})
    url = record(tmp_path / "h.db", [history_of(change(1, 0, weights), *PHASES)], {"u-1": at(3000)})
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = drawn(kanary, url).splitlines()
    assert max(map(len, lines)) <= columns
    first, second = (number for number, line in enumerate(lines) if ":http" in line)
    assert second == first + 1, "a row is cut, not wrapped"
    assert [line[:columns].split()[0][-5:] for line in lines if "http" in line] == [":http"] * 2
    assert len({line.split()[0] for line in lines if "v1:" in line or "v2:" in line}) == (2 if columns > 20 else 0)


@pytest.mark.usefixtures("_terminal")
def test_only_a_terminal_without_no_color_gets_colours(ended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(stream: io.StringIO) -> str:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["history", NAME, "-n", "shop", "--deleted", "--plot", "--db", ended]) == 0
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = shown(Terminal())
    assert "\x1b[31mDDDD\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == DRAWN == shown(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Terminal()) == DRAWN


def test_an_encoding_without_blocks_gets_ascii(ended: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as output:
        done = into(
            output, "history", NAME, "-n", "shop", "--deleted", "--plot", "--db", ended, PYTHONIOENCODING="ascii"
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search("^myapp-v1:http  #+8+5+  at the end 50 %$", (tmp_path / "out").read_text("ascii"), re.MULTILINE)


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
        *"123",
    } <= set(texts(picture))


def test_weights_are_stacked_steps_at_the_times_of_the_changes(kanary: Kanary, ended: str, tmp_path: Path) -> None:
    found = steps(pictured(kanary, ended, tmp_path))
    assert [[(round(low), round(high)) for *_, low, high in step] for step in found] == [
        [(0, 100)],
        [(0, 80), (80, 20)],
        [(0, 50), (50, 50)],
    ]
    left, right = 56, 936
    xs = [left + (right - left) * seconds / 3000 for seconds in (0, 593, 1868, 3000)]
    assert [step[0][0] for step in found] == pytest.approx(xs[:3], abs=0.01)
    assert [step[0][0] + step[0][1] for step in found] == pytest.approx(xs[1:], abs=0.01)


def test_weights_with_a_decimal_are_drawn_and_named(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(change(1, 0, shares(v1=87.5, v2=12.5)))], {"u-1": at(10)})
    picture = pictured(kanary, url, tmp_path)
    assert [[(low, high) for *_, low, high in step] for step in steps(picture)] == [
        [pytest.approx((0, 87.5)), pytest.approx((87.5, 12.5))]
    ]
    assert {"v1:http, at the end 87.5 %", "v2:http, at the end 12.5 %"} <= set(texts(picture))
    titles = [str(title.text) for title in picture.iter(f"{SVG}title")]
    assert any("v1:http=87.5 v2:http=12.5" in title for title in titles)


def test_pointing_at_a_step_or_a_phase_tells_what_it_is(kanary: Kanary, ended: str, tmp_path: Path) -> None:
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
    """More revisions than a drawing shows, with 29 backends in total."""
    weights = [shares(**{f"v{k}": 4 for k in range(first, first + 25)}) for first in range(5)]
    changes = [change(n, n * 60, weights[n % 5], "more") for n in range(1, 2501)]
    moves = [phase(n * 60, "Ready Rolling", "roll", "R") for n in range(1, 2501)]
    url = record(tmp_path / "h.db", [history_of(*changes, *moves)], {"u-1": at(2600 * 60)})
    picture = pictured(kanary, url, tmp_path)
    assert 900 < len(steps(picture)) <= 1001
    assert {len(step) for step in steps(picture)} == {25}
    assert (tmp_path / "x.svg").stat().st_size < 3_000_000
    assert len([text for text in texts(picture) if text.endswith(("at the end 4 %", "at the end 0 %"))]) == 29


def test_revisions_have_their_numbers_where_there_is_room(kanary: Kanary, tmp_path: Path) -> None:
    changes = [change(n, n * 60, shares(a=n % 2 * 100, b=100 - n % 2 * 100)) for n in range(1, 301)]
    found = texts(pictured(kanary, record(tmp_path / "h.db", [history_of(*changes)], {"u-1": at(301 * 60)}), tmp_path))
    numbers = [int(text) for text in found if text.isdecimal()]
    assert 20 < len(numbers) < 60
    assert numbers == sorted(numbers)


def test_changes_from_a_clock_that_was_set_back_are_drawn_in_the_order_of_time(kanary: Kanary, tmp_path: Path) -> None:
    history = history_of(change(1, 0, ONE), change(3, 50, THREE), change(2, 100, TWO))
    by_revision = tuple(entry.model_copy(update={"number": entry.revision}) for entry in history.entries)
    url = record(tmp_path / "h.db", [replace(history, entries=by_revision)], {"u-1": at(200)})
    widths = [step[0][1] for step in steps(pictured(kanary, url, tmp_path))]
    assert widths == pytest.approx([220, 220, 440], abs=0.1)


def test_one_moment_can_be_drawn(kanary: Kanary, tmp_path: Path) -> None:
    """A Kanary that was deleted right after its creation, and whose phase changes were pruned."""
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE))], {"u-1": at(0)})
    assert len(steps(pictured(kanary, url, tmp_path))) == 1
    assert set(row(drawn(kanary, url), "myapp-v1:http")) == {"█"}


def test_earlier_ones_of_the_same_name_are_not_mixed_in(kanary: Kanary, tmp_path: Path) -> None:
    gone = history_of(change(1, -900, shares(other=100)), uid="u-0")
    url = record(tmp_path / "h.db", [gone, story()], {"u-0": at(5), "u-1": at(3000)})
    assert len(steps(pictured(kanary, url, tmp_path))) == 3


def test_a_kanary_that_was_deleted_before_the_time_cannot_be_drawn(kanary: Kanary, ended: str) -> None:
    printed = kanary("history", NAME, "-n", "shop", "--deleted", "--plot", "--since", "2026-11-23T15:00", "--db", ended)
    assert (printed.code, printed.out) == (1, "")
    assert "was deleted at 2026-11-23 14:21:02" in printed.err


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


def labels(start: datetime, seconds: float, most: int) -> list[str]:
    return [label for _, label in ticks(start, start + timedelta(seconds=seconds), most)]


@given(moments, st.floats(1, 4e8), st.integers(2, 12))
def test_ticks_are_few_in_order_and_between_the_ends(start: datetime, seconds: float, most: int) -> None:
    end = start + timedelta(seconds=seconds)
    found = [time for time, _ in ticks(start, end, most)]
    assert len(found) <= most + 2
    assert found == sorted(set(found))
    assert all(start <= time <= end for time in found)


def test_ticks_are_round_local_times_on_both_sides_of_a_change_of_clocks(zone: Zone) -> None:
    zone("Europe/Berlin")
    autumn = datetime.fromisoformat("2026-10-24T20:00+00:00")
    round_times = ["25 Oct", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]
    assert labels(autumn, 86_400, 10) == round_times
    assert labels(autumn + timedelta(hours=4), 9000, 6) == ["02:00", "02:30", "02:00", "02:30", "03:00", "03:30"]
    spring = datetime.fromisoformat("2026-03-29T00:00+00:00")
    assert labels(spring, 7200, 5) == ["01:00", "01:30", "03:00", "03:30", "04:00"]


@pytest.mark.parametrize(
    ("seconds", "pattern"),
    [(9, r"\d\d:\d\d:\d\d"), (7200, r"\d\d:\d\d"), (864_000, r"\d+ [A-Z]\w\w"), (3e7, r"[A-Z]\w\w \d{4}")],
)
def test_labels_are_as_fine_as_the_ticks(seconds: float, pattern: str) -> None:
    found = labels(at(0), seconds, 8)
    assert found
    assert [label for label in found if not re.fullmatch(pattern, label)] == []
