"""Completion for kubectl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kanary.cli.completion import main
from tests.apiserver import ApiServer
from tests.integration.scene import CRD, without_validation

COMMANDS = [
    *("abort", "db", "diff", "get", "history", "pause", "promote", "render", "resume", "retry"),
    *("run", "simulate", "undo", "version", "webhook-key"),
]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    """The kubeconfig of a cluster with the Kanaries web and prune in one namespace and api in another."""
    with ApiServer() as server:
        server.install_crd(without_validation(CRD))
        for namespace, name in (("default", "web"), ("default", "prune"), ("shop", "api")):
            metadata = {"name": name, "namespace": namespace}
            server.store.put({"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": {}})
        yield str(server.kubeconfig(tmp_path / "kubeconfig"))


@pytest.fixture
def completed(capsys: pytest.CaptureFixture[str], kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)

    def run(*words: str) -> list[str]:
        assert main(list(words)) == 0
        *found, directive = capsys.readouterr().out.splitlines()
        assert directive == ":4"
        return found

    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], COMMANDS),
        (["d"], ["db", "diff"]),
        (["db", ""], ["backup", "prune"]),
        (["undo", ""], ["prune", "web"]),
        (["get", ""], ["prune", "web"]),
        (["promote", ""], ["prune", "web"]),
        (["abort", "-n", "shop", ""], ["api"]),
        (["retry", "--r"], ["--reason"]),
        (["history", ""], ["prune", "web"]),
        (["history", "-n", "shop", ""], ["api"]),
        (["diff", "-n", "shop", "a"], ["api"]),
        (["history", "-o", ""], ["table", "json", "yaml", "csv"]),
        (["history", "--t"], ["--transitions"]),
        (["undo", "--kubeconfig", "/nowhere", ""], []),
        (["undo", "web", ""], []),
        ([], COMMANDS),
    ],
)
def test_what_may_follow_is_told(completed: object, words: list[str], expected: list[str]) -> None:
    assert callable(completed)
    assert completed(*words) == expected
