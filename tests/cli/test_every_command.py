"""What every command does with bad input, without a cluster, without rights, interrupted, and into a closed pipe.

The commands are those that are registered: a new one is tested without being named here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from kanary.cli.main import cli
from kanary.cli.rights import ROLES
from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import ROOT, Kanary
from tests.cli.record import NAME, record, story
from tests.cli.test_operator import declared
from tests.history.serving import put_operator, serving
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import kanary as a_kanary
from tests.unit.responder import write_kubeconfig
from tests.waiting import PATIENCE

SECONDS_TO_END = 20
"""After Ctrl-C, however busy the machine is; a request takes longer until it is given up."""
NOWHERE = "http://127.0.0.1:1"

VALUES = {"name": NAME, "revision": "1", "reason": "Serving", "rate": "50/s", "service": "web"}
"""Values of required parameters that are not files."""
EVER = ("name", "filename", "filenames")
"""Parameters that are given although they are not required."""
OPTIONS = {
    "adopt": ("--namespace", "shop"),
    "render": ("--from-cluster",),
    "simulate": ("--runs", "1"),
    "dashboard": ("--no-open",),
    "status": ("--timeout", "3s"),
}
"""What a command needs so that it does what is tested."""


def commands(group: click.Group = cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


# `run` is the operator: it waits for its cluster, and takes no words.
EVERY = {" ".join(path): command for path, command in commands() if path != ("run",)}
OF_CLUSTER = [
    path for path, command in EVERY.items() if any(parameter.name == "kubeconfig" for parameter in command.params)
]
OF_KANARY = [
    path for path in OF_CLUSTER if any(p.name == "name" and isinstance(p, click.Argument) for p in EVERY[path].params)
]

READS_KANARIES = sorted({*OF_CLUSTER} - {"adopt", "diff", "history", "render", "webhook-key"})


class Line:
    """Complete command lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, path: str, name: str = NAME) -> list[str]:
        words = path.split()
        for parameter in EVERY[path].params:
            if parameter.required or parameter.name in EVER:
                flag = [max(parameter.opts, key=len)] if isinstance(parameter, click.Option) else []
                words += [*flag, name if parameter.name == "name" else self._value(path, parameter)]
        return [*words, *OPTIONS.get(path, ())]

    def _value(self, path: str, parameter: click.Parameter) -> str:
        if isinstance(parameter.type, click.Choice):
            return str(parameter.type.choices[0])
        if parameter.name in ("filename", "filenames"):
            manifest = self._folder / "kanary.yml"
            manifest.write_text(yaml.safe_dump(a_kanary()))
            return str(manifest)
        if parameter.name == "file":
            return str(self._folder / "copy.db")
        value = VALUES.get(str(parameter.name))
        assert value, f"say in VALUES what kanary {path} gets for {parameter.name}"
        return value


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kubeconfig with one context, `test`, of a cluster that is not there."""
    path = write_kubeconfig(tmp_path / "kubeconfig", NOWHERE)
    monkeypatch.setenv("KUBECONFIG", path)
    return path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster with a Kanary, its history, and an operator that serves it."""
    with ApiServer() as made:
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig(tmp_path / "kubeconfig")))
        made.install_crd(without_validation(CRD))
        url = record(tmp_path / "history.db", [story(declared(made), namespace="default")])
        with serving(url) as http:
            put_operator(made, http.port)
            yield made


def test_most_commands_are_about_a_cluster() -> None:
    assert {"history", "undo", "get", "promote", "webhook-key", "render"} <= {*OF_CLUSTER}
    assert {"history", "undo", "get", "promote"} <= {*OF_KANARY}


@pytest.mark.parametrize("path", OF_CLUSTER)
def test_without_a_cluster_a_command_names_what_it_tried(path: str, line: Line, nowhere: str, kanary: Kanary) -> None:
    printed = kanary(*line.of(path))
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.count("\n") == 1
    assert f"{NOWHERE} (context test of kubeconfig {nowhere})" in printed.err


@pytest.mark.parametrize("path", OF_CLUSTER)
def test_an_unknown_context_is_named_with_those_there_are(path: str, line: Line, nowhere: str, kanary: Kanary) -> None:
    printed = kanary(*line.of(path), "--context", "tset")
    assert (printed.code, printed.out) == (1, "")
    assert f"kubeconfig {nowhere} has no context tset: name one of its contexts with --context (test)" in printed.err


@pytest.mark.parametrize("path", READS_KANARIES)
def test_without_the_crd_a_command_names_it_and_not_the_kanary(
    path: str, line: Line, server: ApiServer, kanary: Kanary
) -> None:
    server.faults.add(Fault.status(404, path="/kanaries", text="404 page not found"))
    printed = kanary(*line.of(path))
    assert (printed.code, printed.out) == (1, "")
    assert "has no CRD of Kanaries: install Kanary, or name another context (--context)" in printed.err


@pytest.mark.parametrize("path", OF_CLUSTER)
def test_without_a_right_it_is_named_with_the_role_that_has_it(
    path: str, line: Line, server: ApiServer, kanary: Kanary
) -> None:
    server.faults.add(Fault.status(403, path="/namespaces/|/kanaries"))
    printed = kanary(*line.of(path))
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.count("\n") == 1
    assert "permission denied" in printed.err
    assert any(f"cannot {verb} " in printed.err for verb in ("get", "list", "patch"))
    assert " in namespace " in printed.err
    assert any(f"ask for the {role}" in printed.err for role in ("ClusterRole kanary-view", "Role kanary-viewer"))


@pytest.mark.parametrize("path", OF_CLUSTER)
def test_rejected_credentials_are_no_missing_right(path: str, line: Line, server: ApiServer, kanary: Kanary) -> None:
    server.faults.add(Fault.status(401))
    printed = kanary(*line.of(path))
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.count("\n") == 1
    assert "rejects your credentials" in printed.err
    assert server.url in printed.err
    assert "log in again" in printed.err


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("path", OF_KANARY)
def test_an_unknown_kanary_is_named_with_those_there_are(path: str, line: Line, kanary: Kanary) -> None:
    printed = kanary(*line.of(path, name=NAME[:-1]))
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.count("\n") == 1
    assert f"no Kanary {NAME[:-1]} in namespace default" in printed.err
    assert f"it has {NAME}" in printed.err


@pytest.mark.parametrize("path", EVERY)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(path: str, line: Line, kanary: Kanary) -> None:
    printed = kanary(*line.of(path), "--no-such-option")
    assert (printed.code, printed.out) == (2, "")
    assert "--no-such-option" in printed.err
    assert f"Usage: kanary {path}" in printed.err


@pytest.mark.parametrize("path", OF_KANARY)
def test_an_impossible_name_is_wrong_usage(path: str, line: Line, kanary: Kanary) -> None:
    printed = kanary(*line.of(path, name="Not_A_Name"))
    assert (printed.code, printed.out) == (2, "")
    assert "Not_A_Name" in printed.err


def test_an_unknown_command_is_wrong_usage_and_a_near_one_is_named(kanary: Kanary) -> None:
    printed = kanary("histroy")
    assert (printed.code, printed.out) == (2, "")
    assert "'histroy'" in printed.err
    assert "'history'" in printed.err


def started(arguments: list[str], **streams: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kanary.cli.main", *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, env=os.environ, **streams)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("path", EVERY)
def test_a_closed_pipe_is_no_error(path: str, line: Line) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started(line.of(path), stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        _, said = process.communicate(timeout=PATIENCE)
    # Some refuse what is asked, such as an order to a rollout that there is not, and some have nothing to show or
    # time out.
    assert process.returncode in (0, 1, 3), said
    assert [each for each in said.splitlines() if not each.startswith("kanary: ")] == []
    assert "Broken pipe" not in said
    assert "output" not in said


@pytest.mark.parametrize(("path", "code"), [("undo", 1), ("undo --no-such-option", 2)])
@pytest.mark.usefixtures("nowhere")
def test_an_error_that_nobody_reads_is_an_error_nevertheless(path: str, code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started([*path.split(), NAME], stdout=writer, stderr=writer) as process:
        os.close(writer)
        assert process.wait(PATIENCE) == code


@pytest.mark.parametrize("path", OF_CLUSTER)
def test_ctrl_c_ends_a_command_that_waits_for_the_cluster(path: str, line: Line, server: ApiServer) -> None:
    fault = server.faults.add(Fault.hang())
    with started(line.of(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        fault.wait_for_hits()
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=SECONDS_TO_END)
    server.faults.clear()
    assert (process.returncode, printed, said) == (130, "", "")


def test_the_roles_that_errors_name_have_these_rights() -> None:
    documents = yaml.safe_load_all((ROOT / "manifests" / "base" / "rbac.yaml").read_text())
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for role in documents:
        if role["kind"] == "ClusterRole" and role["metadata"]["name"] in ROLES:
            rights = found.setdefault(role["metadata"]["name"], {})
            for rule in role["rules"]:
                for resource in rule["resources"]:
                    plural, _, subresource = resource.partition("/")
                    named = ".".join(filter(None, (plural, *rule["apiGroups"])))
                    rights[f"{named}/{subresource}" if subresource else named] = tuple(rule["verbs"])
    assert found == ROLES
