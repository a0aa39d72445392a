"""Texts and tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kanary.cli.text import cut, write_table
from states.texts import one_line, plain


@given(st.text())
def test_nothing_that_a_terminal_obeys_gets_through(text: str) -> None:
    assert plain(text).isprintable() or plain(text) == ""


def test_what_is_dangerous_is_shown_escaped() -> None:
    assert plain("\x1b[31mred\x1b[0m\nnext\u202eback") == "\\x1b[31mred\\x1b[0m next\\u202eback"


@given(st.text())
def test_a_message_is_one_line_whatever_is_in_it(text: str) -> None:
    assert one_line(text).isprintable()
    assert "  " not in one_line(text)


@given(st.text(), st.integers(1, 20))
def test_a_text_is_cut_to_columns(text: str, columns: int) -> None:
    assert cell_len(cut(text, columns)) <= columns
    assert cut(text, 1000) == text


def table(headings: Sequence[str], *pages: Sequence[Sequence[str]]) -> str:
    output = io.StringIO()
    write_table(headings, pages, output)
    return output.getvalue()


def test_wide_characters_take_two_columns() -> None:
    written = table(("CAUSE", "BY"), [("上げる", "a"), ("raise", "b"), ("é", "c")])
    assert written == "CAUSE   BY\n上げる  a\nraise   b\né       c\n"


def test_columns_keep_their_width_from_page_to_page_and_may_grow() -> None:
    written = table(("A", "B"), [("long", "x")], [("s", "y")], [], [("longer", "z")])
    assert written == "A     B\nlong  x\ns     y\nlonger  z\n"


def test_without_rows_there_is_no_heading() -> None:
    assert table(("A",), []) == table(("A",)) == ""
