"""Completion in the shells and for kubectl."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from kanary.cli import suggest
from kanary.cli.completion import main
from kanary.cli.main import cli
from kanary.cli.shells import SHELLS
from tests.apiserver import ApiServer
from tests.cli.conftest import Kanary
from tests.cli.terminals import Fish, Terminal, require_shells
from tests.integration.scene import CRD, without_validation

PROGRAMS = Path(sys.executable).parent
AT_MOST = 28.0
"""Seconds for a completion that gets no answer: a busy machine takes some to start it, and without a limit of its own
it would wait for 30 s."""
TRIES = 5
Completed = Callable[..., list[str]]

STATUS = {
    "phase": "Rolling",
    "display": {"weights": "web-v1:http=90 web-v2:http=10"},
    "rollout": {"number": 3, "step": 2, "steps": 4},
    "history": {
        "entries": [
            {"kind": "WeightChange", "revision": 11, "after": [{"backend": "web-v1:http", "weight": 100}]},
            {"kind": "PhaseChange", "to": "Ready"},
            {"kind": "WeightChange", "revision": 12, "after": [{"backend": "web-v1:http", "weight": 90}]},
        ]
    },
}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The kubeconfig of a cluster with the Kanaries web and prune in one namespace and api in another."""
    with ApiServer() as server:
        server.install_crd(without_validation(CRD))
        for namespace, name in (("default", "web"), ("default", "prune"), ("shop", "api")):
            metadata = {"name": name, "namespace": namespace}
            kanary = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": {}}
            server.store.put(kanary | ({"status": STATUS} if name == "web" else {}))
        for name in ("default", "shop"):
            server.store.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield str(server.kubeconfig(tmp_path_factory.mktemp("cluster") / "kubeconfig"))


@pytest.fixture
def completed(capsys: pytest.CaptureFixture[str], kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> Completed:
    """The lines that kubectl gets, of which the last one is always the same here."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    monkeypatch.setattr(suggest, "SECONDS", 30)

    def run(*words: str) -> list[str]:
        assert main(list(words)) == 0
        *found, directive = capsys.readouterr().out.splitlines()
        assert directive == ":4"
        return found

    return run


def words(lines: list[str]) -> list[str]:
    return [line.partition("\t")[0] for line in lines]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["di"], ["diff"]),
        (["db", ""], ["backup", "prune"]),
        (["undo", ""], ["prune", "web"]),
        (["history", ""], ["prune", "web"]),
        (["abort", "-n", "shop", ""], ["api"]),
        (["diff", "-n", "shop", "a"], ["api"]),
        (["get", "-n", ""], ["default", "shop"]),
        (["get", "--namespace", "s"], ["shop"]),
        (["history", "--operator-namespace", "s"], ["shop"]),
        (["pause", "--context", ""], ["in-process"]),
        (["undo", "web", "--to-revision", ""], ["12", "11"]),
        (["diff", "web", "12", "1"], ["12", "11"]),
        (["promote", "web", "--step", ""], ["2"]),
        (["promote", "prune", "--step", ""], []),
        (["retry", "--r"], ["--reason"]),
        (["history", "-o", ""], ["table", "json", "yaml", "csv"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["explain", "RouteU"], ["RouteUnreachable"]),
        (["undo", "--kubeconfig", "/nowhere", ""], []),
        (["undo", "web", ""], []),
        (["undo", "nobody", "--to-revision", ""], []),
    ],
)
def test_words_that_may_follow(completed: Completed, given: list[str], expected: list[str]) -> None:
    assert words(completed(*given)) == expected


@pytest.mark.parametrize("given", [[""], []])
def test_every_command_is_suggested(completed: Completed, given: list[str]) -> None:
    assert words(completed(*given)) == sorted(cli.commands)


def test_words_have_descriptions(completed: Completed) -> None:
    assert completed("undo", "w") == ["web\tRolling web-v1:http=90 web-v2:http=10"]
    assert completed("undo", "web", "--to-revision", "12") == ["12\tweb-v1:http=90"]


def test_a_file_is_left_to_kubectl(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", ""]) == 0
    assert capsys.readouterr().out.splitlines() == [":0"]


def test_kubectl_requests_the_words_and_runs_the_plugin(kubeconfig: str) -> None:
    environment = os.environ | {"KUBECONFIG": kubeconfig, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    if kubectl_minor() < 26:
        pytest.skip("kubectl completes plugins since 1.26")

    def printed(*arguments: str) -> list[str]:
        command = ["kubectl", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.splitlines()

    assert "api" in (words(printed("__complete", "kanary", "abort", "-n", "shop", "a"))[0] for _ in range(TRIES))
    assert printed("kanary", "version")[0].startswith("kanary ")


def kubectl_minor() -> int:
    """The minor version of kubectl; 0 if there is none."""
    if not shutil.which("kubectl"):
        return 0
    command = ["kubectl", "version", "--client", "-o", "json"]
    version = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    return int(version["clientVersion"]["minor"].rstrip("+"))


def leaves(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is not a group, with its words."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, *path, name)
    else:
        yield path, command


# The options of `run` are settings of the operator.
LEAVES = [leaf for leaf in leaves(cli) if leaf[0] != ("run",)]


@pytest.mark.parametrize(("path", "command"), [pytest.param(*leaf, id=" ".join(leaf[0])) for leaf in LEAVES])
def test_every_command_completes_names(completed: Completed, path: tuple[str, ...], command: click.Command) -> None:
    options = {option for each in command.params for option in each.opts}
    assert "--namespace" not in options or words(completed(*path, "--namespace", "")) == ["default", "shop"]
    assert "--context" not in options or words(completed(*path, "--context", "")) == ["in-process"]
    assert "name" not in options or words(completed(*path, "")) == ["prune", "web"]


# In the shells


@pytest.fixture(scope="module", params=SHELLS)
def shell(
    request: pytest.FixtureRequest, kubeconfig: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Terminal | Fish]:
    require_shells()
    folder = tmp_path_factory.mktemp(request.param)
    environment = os.environ | {"KUBECONFIG": kubeconfig, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    opened = Fish(folder, environment) if request.param == "fish" else Terminal(request.param, folder, environment)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kanary hist", "kanary history "),
        ("kanary undo we", "kanary undo web "),
        ("kanary get -n sh", "kanary get -n shop "),
        ("kanary abort -n shop a", "kanary abort -n shop api "),
        ("kanary undo --conte", "kanary undo --context "),
        ("kanary undo --context in-", "kanary undo --context in-process "),
        ("kanary undo web --to-revision 12", "kanary undo web --to-revision 12 "),
        ("kanary promote web --step 2", "kanary promote web --step 2 "),
    ],
)
def test_the_tab_key_completes_a_word(shell: Terminal | Fish, line: str, expected: str) -> None:
    # On a busy machine the cluster may not respond within the limit.
    found = shell.completed(line)
    for _ in range(TRIES):
        found = found if found == expected else shell.completed(line)
    assert found == expected


@pytest.mark.parametrize("name", SHELLS)
def test_a_cluster_that_does_not_respond_delays_a_completion_for_a_limited_time(name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {"token": "t"}}]
        path = tmp_path / "kubeconfig"
        path.write_text(str({"current-context": "x", "clusters": [cluster], "contexts": [context], "users": users}))
        environment = os.environ | {"KUBECONFIG": str(path), "_KANARY_COMPLETE": f"{name}_complete"}
        environment |= {"COMP_WORDS": "kanary get ", "COMP_CWORD": "" if name == "fish" else "2"}
        began = time.monotonic()
        command = [sys.executable, "-m", "kanary.cli.main"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert time.monotonic() - began < AT_MOST
        assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_credential_plug_in_does_not_disturb_the_line_that_is_edited(tmp_path: Path) -> None:
    plug_in = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never"}
    user = {"exec": plug_in | {"args": ["-c", "echo log in first >&2; sleep 60"]}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    clusters = [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}]
    path = tmp_path / "kubeconfig"
    config = {"current-context": "x", "clusters": clusters, "contexts": [context]}
    path.write_text(str(config | {"users": [{"name": "u", "user": user}]}))
    environment = os.environ | {"KUBECONFIG": str(path), "_KANARY_COMPLETE": "bash_complete"}
    environment |= {"COMP_WORDS": "kanary get ", "COMP_CWORD": "2"}
    began = time.monotonic()
    command = [sys.executable, "-m", "kanary.cli.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert time.monotonic() - began < AT_MOST
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_defines_the_completion_of_kanary(kanary: Kanary, name: str) -> None:
    printed = kanary("completion", name)
    assert printed.code == 0
    assert f"_KANARY_COMPLETE={name}_complete" in printed.out


def test_an_unknown_shell_is_wrong_usage(kanary: Kanary) -> None:
    assert kanary("completion", "tcsh").code == 2
