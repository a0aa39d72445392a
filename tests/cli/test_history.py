"""`kanary history` with a database written by an operator."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from engine.model.entries import ChangeResult, PhaseChange, RolloutChange, WeightChange
from kanary.cli.main import main
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from kanary.history.records import KnownKanary, Page
from tests.cli.conftest import ROOT, Kanary, Zone, into
from tests.cli.record import (
    CHANGES,
    NAME,
    ONE,
    PHASES,
    RESULTS,
    THREE,
    TWO,
    at,
    change,
    history_of,
    record,
    result,
    shares,
    story,
)

TABLE = """\
REVISION  WHEN                 WEIGHTS                            CAUSE                    BY       RESULT  TOOK
3         2026-11-23 14:02:10  myapp-v1:http=50 myapp-v2:http=50  raise to half (JIRA-12)  kubectl  Ready   6.1s
2         2026-11-23 13:40:55  myapp-v1:http=80 myapp-v2:http=20  spec changed             argocd   Ready   5.8s
1         2026-11-23 13:31:02  myapp-v1:http=100                  created                  kubectl  Ready   9.4s
"""

TRANSITIONS = """\
NUMBER  WHEN                 FROM       TO         TRIGGER   REASON            MESSAGE
16      2026-11-23 14:02:16  Rolling    Ready      complete  Serving           because of Serving
14      2026-11-23 14:02:10  Ready      Rolling    roll      RollingOut        because of RollingOut
12      2026-11-23 13:57:02  Rolling    Ready      complete  Serving           because of Serving
11      2026-11-23 13:56:02  Degraded   Rolling    roll      RollingOut        because of RollingOut
10      2026-11-23 13:51:02  Ready      Degraded   degrade   NoReadyEndpoints  because of NoReadyEndpoints
9       2026-11-23 13:41:01  Rolling    Ready      complete  Serving           because of Serving
7       2026-11-23 13:40:55  Ready      Rolling    roll      RollingOut        because of RollingOut
5       2026-11-23 13:31:11  Rolling    Ready      complete  Serving           because of Serving
3       2026-11-23 13:31:03  Rendering  Rolling    roll      RollingOut        because of RollingOut
2       2026-11-23 13:31:02  Pending    Rendering  render    Rendering         because of Rendering
"""


@pytest.fixture
def several(tmp_path: Path) -> str:
    """Two existing Kanaries in two namespaces, and a deleted one with the name of an existing one."""
    gone = history_of(*CHANGES[:2], RESULTS[0], uid="u-0")
    other = history_of(change(1, 100, ONE, "created"), uid="u-2", namespace="prod", name="web")
    return record(tmp_path / "several.db", [gone, story(), other], {"u-0": at(700)})


# Content


def test_changes_are_a_table_with_the_newest_first(kanary: Kanary, url: str) -> None:
    printed = kanary("history", NAME, "-n", "shop", "--db", url)
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == TABLE


def test_transitions_are_a_table_with_their_reasons(kanary: Kanary, url: str) -> None:
    assert kanary("history", NAME, "-n", "shop", "--db", url, "--transitions").out == TRANSITIONS


STEPS = (
    *CHANGES[:2],
    change(3, 1868, THREE, "step 1/2 is promoted, by jane: fine", before=TWO).model_copy(
        update={"rollout": 1, "step": "2/2 100%"}
    ),
    change(4, 1900, TWO, "rolled back", before=THREE).model_copy(update={"rollout": 1}),
)
PROMOTED = RolloutChange(
    number=1,
    at=at(1868),
    rollout=1,
    source="Watching",
    to="Shifting",
    trigger="advance",
    step="1/2 50%",
    reason="StepStarted",
    message="step 1/2 is promoted, by jane: fine",
)


def test_changes_of_rollouts_have_their_step_and_who_caused_them(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*STEPS)])
    heading, *lines = kanary("history", NAME, "-n", "shop", "--db", url).out.splitlines()
    first, end = heading.index("ROLLOUT"), heading.index("BY")
    assert [re.split("  +", line[first:end].strip()) for line in lines] == [
        ["1", "rolled back"],
        ["1 2/2 100%", "step 1/2 is promoted, by jane: fine"],
        ["spec changed"],
        ["created"],
    ]


def test_moves_of_rollouts_are_among_those_of_the_phase(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*CHANGES, *PHASES, PROMOTED)])
    arguments = ("history", NAME, "-n", "shop", "--db", url, "--transitions")
    heading, *lines = kanary(*arguments).out.splitlines()
    assert heading.split()[:4] == ["NUMBER", "WHEN", "ROLLOUT", "FROM"]
    (line,) = [line for line in lines if "advance" in line]
    row = ["1 1/2 50%", "Watching", "Shifting", "advance", "StepStarted", "step 1/2 is promoted, by jane: fine"]
    assert re.split("  +", line)[2:] == row
    assert len(lines) == len(PHASES) + 1
    rows = [*csv.DictReader(io.StringIO(kanary(*arguments, "-o", "csv").out))]
    found = {(row["entry.kind"], row["entry.rollout"], row["entry.step"]) for row in rows}
    assert found == {("PhaseChange", "", ""), ("RolloutChange", "1", "1/2 50%")}
    assert {row["entry.revision"] for row in rows if row["entry.kind"] == "RolloutChange"} == {""}


def test_a_plot_draws_the_steps_of_rollouts(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*STEPS, *PHASES, PROMOTED)])
    printed = kanary("history", NAME, "-n", "shop", "--db", url, "--plot")
    assert (printed.code, printed.err) == (0, "")
    assert "now 20 %" in printed.out


def test_times_are_local(kanary: Kanary, url: str, zone: Zone) -> None:
    zone("America/New_York")
    assert "3         2026-11-23 09:02:10  myapp" in kanary("history", NAME, "-n", "shop", "--db", url).out


def test_a_change_of_which_nothing_has_come_is_in_progress(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*CHANGES, *RESULTS[:2])])
    lines = kanary("history", NAME, "-n", "shop", "--db", url).out.splitlines()
    assert lines[1].endswith("kubectl  in progress")
    assert lines[2].endswith("argocd   Ready        5.8s")


def test_without_a_name_the_whole_namespace_is_shown(kanary: Kanary, several: str) -> None:
    lines = kanary("history", "-n", "shop", "--db", several).out.splitlines()
    assert lines[0].startswith("NAME                REVISION")
    assert [line.split()[:2] for line in lines[1:]] == [[NAME, "3"], [NAME, "2"], [NAME, "1"]]


def test_all_namespaces_are_told_apart(kanary: Kanary, several: str) -> None:
    lines = kanary("history", "-A", "--db", several).out.splitlines()
    assert lines[0].startswith("NAMESPACE  NAME                REVISION")
    assert [line.split()[:3] for line in lines[1:]] == [
        ["shop", NAME, "3"],
        ["shop", NAME, "2"],
        ["prod", "web", "1"],
        ["shop", NAME, "1"],
    ]


def test_those_that_are_gone_are_shown_on_request_with_their_end(kanary: Kanary, several: str) -> None:
    printed = kanary("history", NAME, "-n", "shop", "--deleted", "--db", several).out.splitlines()
    assert printed[0].endswith("TOOK   DELETED")
    assert [line.split()[0] for line in printed[1:]] == ["3", "2", "1", "2", "1"]
    assert printed[4].endswith("Deleted  1m47s  2026-11-23 13:42:42")


def test_the_namespace_is_default_where_none_is_named(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [story(namespace="default")])
    assert kanary("history", NAME, "--db", url).out == TABLE


@pytest.mark.parametrize("name", [NAME, f"ky/{NAME}", f"kanary/{NAME}", f"kanaries.kanary.k8s.io/{NAME}"])
def test_a_name_may_have_its_type_before_it(kanary: Kanary, url: str, name: str) -> None:
    assert kanary("history", name, "-n", "shop", "--db", url).out == TABLE


def test_a_word_that_is_a_command_elsewhere_is_a_name_like_any_other(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [story(name="prune")])
    assert kanary("history", "prune", "-n", "shop", "--db", url).out == TABLE


# Time


@pytest.mark.parametrize(("time", "revision"), [("2026-11-23T13:35", "1"), ("2026-11-23T14:00Z", "2"), ("1s", "3")])
def test_what_was_in_force_at_a_time_is_one_change(kanary: Kanary, url: str, time: str, revision: str) -> None:
    lines = kanary("history", NAME, "-n", "shop", "--at", time, "--db", url).out.splitlines()
    assert [line.split()[0] for line in lines] == ["REVISION", revision]


def test_a_time_that_the_table_shows_finds_its_revision(kanary: Kanary, url: str) -> None:
    shown = {"1": "2026-11-23 13:31:02", "2": "2026-11-23 13:40:55", "3": "2026-11-23 14:02:10"}
    for revision, time in shown.items():
        found = kanary("history", NAME, "-n", "shop", "--at", time, "--db", url).out.splitlines()
        assert [line.split()[0] for line in found] == ["REVISION", revision]
        since = kanary("history", NAME, "-n", "shop", "--since", time, "--db", url).out.splitlines()
        assert since[-1].split()[0] == revision


def test_the_present_second_is_not_still_to_come(kanary: Kanary, url: str) -> None:
    now = datetime.now(UTC)
    assert kanary("history", NAME, "-n", "shop", "--at", f"{now:%Y-%m-%dT%H:%M:%SZ}", "--db", url).code == 0


def test_what_has_been_since_a_time_leaves_out_what_was_before(kanary: Kanary, url: str) -> None:
    lines = kanary("history", NAME, "-n", "shop", "--since", "2026-11-23T13:40", "--db", url).out.splitlines()
    assert [line.split()[0] for line in lines] == ["REVISION", "3", "2"]


@pytest.mark.parametrize(
    "arguments",
    [
        [NAME, "-n", "shop", "--at", "2026-11-22"],
        [NAME, "-n", "shop", "--since", "2026-11-23T20:00"],
        [NAME, "-n", "shop", "--since", "2026-11-23T20:00", "--transitions"],
        ["-n", "shop", "--since", "2026-11-23T20:00"],
        ["-A", "--at", "2026-11-22"],
        [],
    ],
)
def test_that_nothing_matches_is_an_answer_with_the_ways_out_and_no_error(
    kanary: Kanary, url: str, arguments: list[str]
) -> None:
    printed = kanary("history", *arguments, "--db", url)
    assert (printed.code, printed.out) == (0, "")
    assert printed.err == (
        "kanary: nothing in the history matches: try another time (--at, --since) or --deleted; "
        "there are Kanaries in shop\n"
    )


def test_a_deleted_kanary_has_no_weights_in_force_after_its_deletion(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [story()], {"u-1": at(5000)})
    for time, lines in (("2026-11-23T14:54:21", 2), ("2026-11-23T14:54:22", 0)):
        printed = kanary("history", NAME, "-n", "shop", "--deleted", "--at", time, "--db", url)
        assert (printed.code, len(printed.out.splitlines())) == (0, lines)


def test_a_kanary_without_transitions_is_not_unknown(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*CHANGES)])
    printed = kanary("history", NAME, "-n", "shop", "--transitions", "--db", url)
    assert (printed.code, printed.out) == (0, "")
    assert printed.err.startswith("kanary: nothing in the history matches")


# Formats for programs


def test_json_is_what_was_recorded(kanary: Kanary, url: str) -> None:
    found = json.loads(kanary("history", NAME, "-n", "shop", "--db", url, "-o", "json").out)
    assert [item["change"]["revision"] for item in found] == [3, 2, 1]
    change, result = (each.model_dump(mode="json", by_alias=True) for each in (CHANGES[1], RESULTS[1]))
    assert found[1] == {
        "kanary": {
            "uid": "u-1",
            "namespace": "shop",
            "name": NAME,
            "firstSeen": "2026-11-23T13:31:02.250Z",
            "deletedAt": None,
        },
        "change": {**change, "number": 6},
        "result": {**result, "number": 8},
    }
    assert change["after"] == [{"backend": "myapp-v1:http", "weight": 80}, {"backend": "myapp-v2:http", "weight": 20}]
    assert (result["at"], result["seconds"]) == ("2026-11-23T13:41:01.050Z", 5.8)


def test_weights_with_a_decimal_are_the_same_in_every_format(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(change(1, 0, shares(v1=33.3, v2=0.1, v3=66.6), before=ONE))])
    arguments = ("history", NAME, "-n", "shop", "--db", url)
    text = "v1:http=33.3 v2:http=0.1 v3:http=66.6"
    assert f"  {text}  " in kanary(*arguments).out
    printed = kanary(*arguments, "-o", "json").out
    (found,) = json.loads(printed)
    assert [share["weight"] for share in found["change"]["after"]] == [33.3, 0.1, 66.6]
    assert '"weight": 100}' in printed
    assert yaml.safe_load(kanary(*arguments, "-o", "yaml").out) == [found]
    (row,) = csv.DictReader(io.StringIO(kanary(*arguments, "-o", "csv").out))
    assert (row["change.before"], row["change.after"]) == ("myapp-v1:http=100", text)


def test_what_a_newer_operator_wrote_is_shown_and_passed_on(kanary: Kanary, tmp_path: Path) -> None:
    later = result(1, 9, 9, "RolledBack").model_copy(update={"verdict": {"errors": 7}})
    newer = change(1, 0, ONE).model_copy(update={"canary": 2})
    url = record(tmp_path / "h.db", [history_of(newer, later)])
    assert "  RolledBack  9.0s\n" in kanary("history", NAME, "-n", "shop", "--db", url).out
    (found,) = json.loads(kanary("history", NAME, "-n", "shop", "--db", url, "-o", "json").out)
    assert (found["change"]["canary"], found["result"]["verdict"]) == (2, {"errors": 7})
    assert kanary("history", NAME, "-n", "shop", "--db", url, "-o", "csv").code == 0


def test_yaml_says_what_json_says(kanary: Kanary, url: str) -> None:
    for more in ([], ["--transitions"]):
        arguments = ("history", NAME, "-n", "shop", "--db", url, *more)
        assert yaml.safe_load(kanary(*arguments, "-o", "yaml").out) == json.loads(kanary(*arguments, "-o", "json").out)


def test_csv_has_the_fields_of_json_under_their_paths(kanary: Kanary, url: str) -> None:
    arguments = ("history", NAME, "-n", "shop", "--db", url)
    rows = [*csv.DictReader(io.StringIO(kanary(*arguments, "-o", "csv").out))]
    records = json.loads(kanary(*arguments, "-o", "json").out)
    assert [[*row] for row in rows] == [[f"{part}.{field}" for part in r for field in r[part]] for r in records]
    row = rows[1]
    assert (row["change.before"], row["change.after"]) == ("myapp-v1:http=100", "myapp-v1:http=80 myapp-v2:http=20")
    assert (row["kanary.deletedAt"], row["change.at"], row["change.revision"], row["result.seconds"]) == (
        "",
        "2026-11-23T13:40:55.250Z",
        "2",
        "5.8",
    )


def test_of_a_change_in_progress_the_result_is_empty_in_csv(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(CHANGES[0])])
    (row,) = csv.DictReader(io.StringIO(kanary("history", "-A", "-o", "csv", "--db", url).out))
    assert (row["change.revision"], row["result.result"], row["result.seconds"]) == ("1", "", "")


def test_csv_of_transitions_can_be_read_back(kanary: Kanary, tmp_path: Path) -> None:
    odd = PHASES[0].model_copy(update={"message": 'commas, "quotes"\nand lines'})
    url = record(tmp_path / "h.db", [history_of(odd)])
    printed = kanary("history", NAME, "-n", "shop", "--db", url, "--transitions", "-o", "csv").out
    (row,) = csv.DictReader(io.StringIO(printed))
    found = (row["entry.from"], row["entry.to"], row["entry.message"])
    assert found == ("Pending", "Rendering", 'commas, "quotes" and lines')


@pytest.mark.parametrize(("name", "empty"), [("json", "[]\n"), ("yaml", "[]\n"), ("table", "")])
def test_nothing_is_an_empty_list(kanary: Kanary, url: str, name: str, empty: str) -> None:
    printed = kanary("history", "--db", url, "-o", name)
    assert (printed.code, printed.out) == (0, empty)
    assert printed.err.endswith("; there are Kanaries in shop\n")


def test_each_field_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text()
    parts = (("kanary", KnownKanary), ("change", WeightChange), ("result", ChangeResult))
    entries = (("entry", PhaseChange), ("entry", RolloutChange))
    fields = {f"{part}.{field.alias}" for part, model in (*parts, *entries) for field in model.model_fields.values()}
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [field for field in sorted(fields) if not any(f"`{field}`" in line for line in rows)] == []


HOSTILE = "\x1b]0;owned\x07é \x7f\x9b2J \u202eback\nREVISION"


@pytest.mark.parametrize("name", ["table", "json", "yaml", "csv"])
def test_no_format_has_a_character_that_a_terminal_obeys(kanary: Kanary, tmp_path: Path, name: str) -> None:
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE, HOSTILE))])
    printed = kanary("history", "-A", "--db", url, "-o", name).out
    assert "owned" in printed
    assert printed.replace("\n", "").isprintable()


def test_json_and_yaml_have_every_character_and_the_others_one_line_for_each_record(
    kanary: Kanary, tmp_path: Path
) -> None:
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE, HOSTILE))])
    printed = {name: kanary("history", "-A", "--db", url, "-o", name).out for name in ("table", "json", "yaml", "csv")}
    assert json.loads(printed["json"]) == yaml.safe_load(printed["yaml"])
    assert json.loads(printed["json"])[0]["change"]["cause"] == HOSTILE
    assert (printed["table"].count("\n"), printed["csv"].count("\n")) == (2, 2)


@pytest.mark.parametrize("first", ["=", "+", "-", "@", " =", "\t=", "\r="])
def test_no_cell_of_csv_is_a_formula(kanary: Kanary, tmp_path: Path, first: str) -> None:
    cause = f"{first}HYPERLINK(1)"
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE, cause))])
    (row,) = csv.DictReader(io.StringIO(kanary("history", "-A", "-o", "csv", "--db", url).out, newline=""))
    shown = cause.replace("\t", " ").replace("\r", " ")
    assert (row["change.cause"], row["change.author"], row["change.revision"]) == (f"'{shown}", "kubectl", "1")
    assert json.loads(kanary("history", "-A", "-o", "json", "--db", url).out)[0]["change"]["cause"] == cause


@pytest.mark.parametrize("cause", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "b\r\n"])
def test_whatever_is_in_a_cell_of_csv_one_record_is_one_line(kanary: Kanary, tmp_path: Path, cause: str) -> None:
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE, f"say {cause}"))])
    printed = kanary("history", "-A", "-o", "csv", "--db", url).out
    (row,) = csv.DictReader(io.StringIO(printed, newline=""))
    assert row["change.cause"] == f"say {cause}".replace("\r", " ").replace("\n", " ")
    assert printed.count("\n") == 2
    assert "\r" not in printed


# Large histories


def test_many_changes_are_shown_in_the_memory_of_a_page(
    kanary: Kanary, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source generates its pages, which are 16 MB in total."""
    reader = Reader(url)
    item = reader.changes(ChangeQuery(namespace="shop", name=NAME)).items[1]
    reader.close()
    pages = 20

    def changes(_: Reader, query: ChangeQuery) -> Page[object]:
        number = int(query.after or 0)
        copies = (item.change.model_copy(update={"cause": f"{number} {n}"}) for n in range(query.limit))
        items = tuple(item.model_copy(update={"change": copy}) for copy in copies)
        return Page(items=items, next=str(number + 1) if number + 1 < pages else None)

    monkeypatch.setattr(Reader, "changes", changes)
    monkeypatch.setattr(sys, "stdout", Path(os.devnull).open("w"))  # noqa: SIM115 -- closed with the process
    tracemalloc.start()
    try:
        assert main(["history", NAME, "-n", "shop", "--db", url]) == 0
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8_000_000


def test_pages_are_put_together_without_a_seam(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [history_of(*(change(n, n, TWO) for n in range(1, 1202)), name="web")])
    found = json.loads(kanary("history", "web", "-n", "shop", "--db", url, "-o", "json").out)
    assert [item["change"]["revision"] for item in found] == [*range(1201, 0, -1)]
    lines = kanary("history", "web", "-n", "shop", "--db", url).out.splitlines()
    assert len(lines) == 1202


@pytest.mark.parametrize("name", ["table", "json", "yaml", "csv"])
def test_a_closed_pipe_is_no_error(url: str, name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = into(pipe, "history", NAME, "-n", "shop", "--db", url, "-o", name)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["table", "json", "yaml", "csv"])
def test_an_encoding_that_has_not_every_character_is_no_error(tmp_path: Path, name: str) -> None:
    url = record(tmp_path / "h.db", [history_of(change(1, 0, ONE, "höher ↑" + "x" * 80), name="web")])
    with (tmp_path / "out").open("w") as output:
        done = into(output, "history", "web", "-n", "shop", "--db", url, "-o", name, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "out").read_text(encoding="ascii")
    if name == "json":
        assert json.loads(text)[0]["change"]["cause"].startswith("höher ↑")
    if name == "yaml":
        assert yaml.safe_load(text)[0]["change"]["cause"].startswith("höher ↑")


# Missing history


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["simple", "-n", "shop"], f"the history has no Kanary simple in namespace shop: it has {NAME}"),
        (["web", "-n", "shop"], f"the history has no Kanary web in namespace shop: it has {NAME}"),
        (
            [NAME, "-n", "empty"],
            f"the history has no Kanary {NAME} in namespace empty: there are Kanaries in prod and shop",
        ),
    ],
)
def test_what_is_not_there_is_told_in_one_line_with_what_is(
    kanary: Kanary, several: str, arguments: list[str], told: str
) -> None:
    printed = kanary("history", *arguments, "--db", several)
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith(f"kanary: {told}")
    assert printed.err.count("\n") == 1


def test_one_that_is_gone_is_told_with_the_option_that_shows_it(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [story()], {"u-1": at(5000)})
    for more in ([], ["--plot"], ["--at", "1s"]):
        printed = kanary("history", NAME, "-n", "shop", *more, "--db", url)
        assert (printed.code, printed.out) == (1, "")
        assert "was deleted at 2026-11-23 14:54:22: add --deleted to see its history" in printed.err


def test_an_empty_record_says_when_it_begins(kanary: Kanary, tmp_path: Path) -> None:
    url = record(tmp_path / "h.db", [])
    printed = kanary("history", "web", "--db", url)
    assert printed.code == 1
    assert printed.err == (
        "kanary: the history has no Kanary web in namespace default: it is empty; the operator records each Kanary "
        "from its first weights on\n"
    )


def test_a_close_name_comes_first_of_many(kanary: Kanary, tmp_path: Path) -> None:
    names = ["api", "basket", "catalogue", "checkout", "images", "search", "users"]
    url = record(tmp_path / "h.db", [story(f"u-{name}", name=name) for name in names])
    printed = kanary("history", "serach", "-n", "shop", "--db", url)
    assert printed.err.endswith(": it has search, api, basket, catalogue, checkout and 2 more\n")


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("sqlite:////nowhere/history.db", "there is no history database /nowhere/history.db"),
        ("mysql://host/x", "unsupported database mysql"),
        ("postgresql://kanary:s3cret@localhost:1/x", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_read_is_told_in_one_line(kanary: Kanary, database: str, told: str) -> None:
    printed = kanary("history", "--db", database)
    assert (printed.code, printed.out) == (1, "")
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert "s3cret" not in printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["web", "-A"],
        ["-A", "-n", "shop"],
        ["web", "--at", "1d", "--since", "2d"],
        ["web", "--at", "1d", "--transitions"],
        ["web", "again"],
        [""],
        ["pod/web"],
        ["ky/"],
        ["Web"],
        ["a" * 254],
        ["web", "-n", "a" * 254],
        ["--plot"],
        ["--plot", "web"],
        ["web", "--plot", "--transitions"],
        ["web", "--plot", "-o", "json"],
        ["web", "--plot", "--at", "1d"],
        ["web", "--limit", "1"],
        *(["web", option, ""] for option in ("--at", "--since", "--db", "--plot", "-n", "--operator-namespace")),
        ["web", "--at", " "],
        ["web", "-o", "xml"],
        ["web", "--at", "noon"],
        ["web", "--since", "soon"],
        ["web", "--at", "2999-01-01"],
        ["web", "--since", "2999-01-01"],
    ],
)
def test_wrong_usage_exits_with_2(kanary: Kanary, url: str, arguments: list[str]) -> None:
    printed = kanary("history", "--db", url, *arguments)
    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith("Usage: kanary history ")


def test_options_that_exclude_each_other_are_both_named(kanary: Kanary) -> None:
    assert "--at and --since exclude each other" in kanary("history", "--at", "2d", "--since", "1d").err
    assert "NAME and --all-namespaces exclude each other" in kanary("history", "web", "-A").err


def test_wrong_usage_is_told_with_what_is_expected(kanary: Kanary) -> None:
    assert "invalid time 'noon', expected 2026-11-23T13:35, " in kanary("history", "--at", "noon").err
    assert "2999-01-01 00:00:00 is in the future" in kanary("history", "--since", "2999-01-01").err
