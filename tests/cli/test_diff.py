"""`kanary diff` with a database written by an operator."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.entries import Configuration
from kanary.cli.diff import difference, show
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from tests.cli.conftest import Kanary, into
from tests.cli.record import CHANGES, CONFIGURATIONS, NAME, ONE, TWO, at, change, history_of, record, shares, story

FROM_1_TO_2 = """\
shop/simple-kanary-rule: revision 1 to revision 2

        REVISION 1           REVISION 2
WHEN    2026-11-23 13:31:02  2026-11-23 13:40:55
CAUSE   created              spec changed
BY      kubectl              argocd
RESULT  Ready after 9.4s     Ready after 5.8s

WEIGHTS        REVISION 1  REVISION 2  CHANGE
myapp-v1:http  100         80          -20
myapp-v2:http  none        20          new

ENDPOINTS
myapp-v2:http
+ 10.0.1.1:8080

CONFIGURATION
--- revision 1
+++ revision 2
@@ -1,2 +1,3 @@
 frontend split
   server 10.0.0.1:8080 10.0.0.1:8080
+  server 10.0.1.1:8080 10.0.1.1:8080
"""

FROM_2_TO_3 = """\
shop/simple-kanary-rule: revision 2 to revision 3

        REVISION 2           REVISION 3
WHEN    2026-11-23 13:40:55  2026-11-23 14:02:10
CAUSE   spec changed         raise to half (JIRA-12)
BY      argocd               kubectl
RESULT  Ready after 5.8s     Ready after 6.1s

WEIGHTS        REVISION 2  REVISION 3  CHANGE
myapp-v1:http  80          50          -30
myapp-v2:http  20          50          +30

ENDPOINTS
myapp-v1:http
+ 10.0.0.2:8080
myapp-v2:http
- 10.0.1.1:8080
+ 10.0.1.9:8080

CONFIGURATION
--- revision 2
+++ revision 3
@@ -1,3 +1,4 @@
 frontend split
   server 10.0.0.1:8080 10.0.0.1:8080
-  server 10.0.1.1:8080 10.0.1.1:8080
+  server 10.0.0.2:8080 10.0.0.2:8080
+  server 10.0.1.9:8080 10.0.1.9:8080
"""


def test_two_revisions_stand_side_by_side(kanary: Kanary, url: str) -> None:
    printed = kanary("diff", NAME, "1", "2", "-n", "shop", "--db", url)
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == FROM_1_TO_2


def test_where_revisions_are_missing_the_one_before_is_the_last_that_is_there(kanary: Kanary, tmp_path: Path) -> None:
    """Revision 2 was lost; the revisions of an earlier Kanary with the same name do not count."""
    former = history_of(change(2, -900, ONE), uid="u-0")
    gaps = history_of(CHANGES[0], CHANGES[2])
    url = record(tmp_path / "gaps.db", [former, gaps], {"u-0": at(-800)})
    assert kanary("diff", NAME, "3", "-n", "shop", "--db", url).out.startswith(
        f"shop/{NAME}: revision 1 to revision 3\n"
    )
    printed = kanary("diff", NAME, "2", "-n", "shop", "--db", url)
    assert printed.err == f"kanary: Kanary {NAME} has no revision 2 in the history, which has 1 to 3\n"


def test_one_revision_is_compared_with_the_one_before(kanary: Kanary, url: str) -> None:
    assert kanary("diff", NAME, "3", "-n", "shop", "--db", url).out == FROM_2_TO_3


def test_the_order_is_that_of_the_arguments(kanary: Kanary, url: str) -> None:
    printed = kanary("diff", NAME, "2", "1", "-n", "shop", "--db", url).out
    assert "myapp-v2:http  20          none        removed\n" in printed
    assert "\n-  server 10.0.1.1:8080 10.0.1.1:8080\n" in printed


def test_a_revision_is_the_same_as_itself(kanary: Kanary, url: str) -> None:
    printed = kanary("diff", NAME, "2", "2", "-n", "shop", "--db", url).out
    assert printed.endswith("ENDPOINTS\nunchanged\n\nCONFIGURATION\nunchanged\n")
    assert "myapp-v1:http  80          80\n" in printed


def test_a_configuration_that_is_not_kept_is_said_to_be_missing(kanary: Kanary, tmp_path: Path) -> None:
    changes = (change(1, 0, ONE), change(2, 10, TWO, digest="a1"), change(3, 20, ONE, digest="unknown"))
    url = record(tmp_path / "h.db", [history_of(*changes, name="web")])
    for revision, before in (("2", "1"), ("3", "2")):
        printed = kanary("diff", "web", revision, "-n", "shop", "--db", url).out
        not_kept = f"unknown: the configuration of revision {before} or revision {revision} is not kept\n"
        assert printed.endswith(f"\nENDPOINTS\n{not_kept}\nCONFIGURATION\n{not_kept}")
    found = json.loads(kanary("diff", "web", "2", "-n", "shop", "--db", url, "-o", "json").out)
    assert (found["endpoints"], found["configuration"]) == (None, None)


def test_one_configuration_is_unchanged_even_where_it_is_not_kept(kanary: Kanary, tmp_path: Path) -> None:
    changes = (change(1, 0, ONE, digest="unknown"), change(2, 10, TWO, digest="unknown"))
    url = record(tmp_path / "h.db", [history_of(*changes)])
    printed = kanary("diff", NAME, "2", "-n", "shop", "--db", url).out
    assert printed.endswith("ENDPOINTS\nunchanged\n\nCONFIGURATION\nunchanged\n")


def test_json_has_the_same_for_programs(kanary: Kanary, url: str) -> None:
    found = json.loads(kanary("diff", NAME, "1", "2", "-n", "shop", "--db", url, "-o", "json").out)
    assert (found["from"]["change"]["revision"], found["to"]["change"]["revision"]) == (1, 2)
    assert found["weights"] == [
        {"backend": "myapp-v1:http", "from": 100, "to": 80},
        {"backend": "myapp-v2:http", "from": None, "to": 20},
    ]
    assert found["endpoints"] == [{"backend": "myapp-v2:http", "removed": [], "added": ["10.0.1.1:8080"]}]
    assert found["configuration"][-1] == "+  server 10.0.1.1:8080 10.0.1.1:8080"
    same = json.loads(kanary("diff", NAME, "2", "2", "-n", "shop", "--db", url, "-o", "json").out)
    assert (same["endpoints"], same["configuration"]) == ([], [])


def test_differences_of_weights_with_a_decimal_are_exact(kanary: Kanary, tmp_path: Path) -> None:
    changes = change(1, 0, shares(v1=33.3, v2=66.7)), change(2, 10, shares(v1=43.3, v2=33.4, v3=23.3))
    url = record(tmp_path / "h.db", [history_of(*changes)])
    lines = kanary("diff", NAME, "1", "2", "-n", "shop", "--db", url).out.splitlines()
    assert [line.split() for line in lines if line.startswith("v")] == [
        ["v1:http", "33.3", "43.3", "+10"],
        ["v2:http", "66.7", "33.4", "-33.3"],
        ["v3:http", "none", "23.3", "new"],
    ]
    found = json.loads(kanary("diff", NAME, "1", "2", "-n", "shop", "--db", url, "-o", "json").out)
    assert [(each["from"], each["to"]) for each in found["weights"]] == [(33.3, 43.3), (66.7, 33.4), (None, 23.3)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[io.StringIO], str]:
    """The difference of revisions 1 and 2 as written to a stream."""
    monkeypatch.setenv("TERM", "xterm-256color")

    def written(stream: io.StringIO) -> str:
        with closing(Reader(url)) as reader:
            new, old = reader.changes(ChangeQuery(namespace="shop", name=NAME)).items[1:]
            show(old, new, difference(reader, old, new), stream)
        return stream.getvalue()

    return written


def test_a_terminal_gets_colours(shown: Callable[[io.StringIO], str]) -> None:
    printed = shown(Terminal())
    assert "\x1b[32m+  server 10.0.1.1:8080 10.0.1.1:8080\x1b[0m\n" in printed
    assert re.sub(r"\x1b\[\d*m", "", printed) == FROM_1_TO_2


def test_neither_a_pipe_nor_a_terminal_without_colours_gets_escapes(
    shown: Callable[[io.StringIO], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(io.StringIO()) == FROM_1_TO_2
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Terminal()) == FROM_1_TO_2


def test_long_lines_are_cut_and_brackets_stay(kanary: Kanary, tmp_path: Path) -> None:
    text = f"server [red]x[/red] :smile: {'x' * 300}\n"
    configurations = (Configuration(digest="d4", text=text, endpoints={}), CONFIGURATIONS[0])
    changes = history_of(change(1, 0, ONE, digest="a1"), change(2, 10, TWO, digest="d4"))
    url = record(tmp_path / "h.db", [replace(changes, configurations=configurations)])
    printed = kanary("diff", NAME, "2", "-n", "shop", "--db", url).out
    assert f"\n+{text[:118]}…\n" in printed
    assert text.strip() in kanary("diff", NAME, "2", "-n", "shop", "--db", url, "-o", "json").out


def test_a_closed_pipe_is_no_error(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = into(pipe, "diff", NAME, "2", "-n", "shop", "--db", url)
    assert (done.returncode, done.stderr) == (0, "")


def test_of_several_of_one_name_the_one_that_lives_is_meant(kanary: Kanary, tmp_path: Path) -> None:
    gone = history_of(CHANGES[0], uid="u-0")
    url = record(tmp_path / "h.db", [gone, story()], {"u-0": at(5)})
    assert kanary("diff", NAME, "3", "-n", "shop", "--db", url).out == FROM_2_TO_3


def test_one_that_is_gone_can_still_be_looked_into(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [story()], {"u-1": at(5000)})
    assert kanary("diff", NAME, "3", "-n", "shop", "--db", url).out == FROM_2_TO_3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([NAME, "1"], f"revision 1 of Kanary {NAME} is the first in the history: name another revision"),
        ([NAME, "2", "9"], f"Kanary {NAME} has no revision 9 in the history, which has 1 to 3"),
        ([NAME, "9", "2"], f"Kanary {NAME} has no revision 9 in the history, which has 1 to 3"),
        ([NAME, "9"], f"Kanary {NAME} has no revision 9 in the history, which has 1 to 3"),
        (["web", "1", "2"], f"the history has no Kanary web in namespace shop: it has {NAME}"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(kanary: Kanary, url: str, arguments: list[str], told: str) -> None:
    printed = kanary("diff", *arguments, "-n", "shop", "--db", url)
    assert (printed.code, printed.out, printed.err) == (1, "", f"kanary: {told}\n")


def test_no_digit_of_a_number_is_left_out(kanary: Kanary, url: str) -> None:
    assert kanary("diff", NAME, "3", "-n", "shop", "--db", url).out == FROM_2_TO_3
    assert kanary("diff", NAME, "0" * 40 + "3", "-n", "shop", "--db", url).out == FROM_2_TO_3
    assert "has no revision 31 " in kanary("diff", NAME, "0" * 19 + "31", "-n", "shop", "--db", url).err
    assert f"has no revision {10**9} " in kanary("diff", NAME, str(10**9), "-n", "shop", "--db", url).err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [NAME],
        *([NAME, bad] for bad in ("two", "0", "-1", str(10**9 + 1), "9" * 5000)),
        [NAME, "1", "2", "3"],
        [NAME, "1", "2", "-o", "yaml"],
    ],
)
def test_wrong_usage_exits_with_2(kanary: Kanary, url: str, arguments: list[str]) -> None:
    assert kanary("diff", *arguments, "--db", url).code == 2
