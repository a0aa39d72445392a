"""The same commands with the history of the operator, through the API server and with a kubeconfig."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import Kanary
from tests.cli.record import CHANGES, NAME, history_of, record, story
from tests.cli.test_diff import FROM_2_TO_3
from tests.cli.test_history import TABLE, TRANSITIONS
from tests.history.serving import put_operator, serving
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import route


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster without an operator."""
    with ApiServer() as made:
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig(tmp_path / "kubeconfig")))
        made.install_crd(without_validation(CRD))
        yield made


@pytest.fixture
def operator(server: ApiServer, tmp_path: Path) -> Iterator[ApiServer]:
    """The same cluster with an operator that serves the history."""
    uid = declared(server)
    url = record(tmp_path / "history.db", [story(uid, namespace="default")])
    with serving(url) as http:
        put_operator(server, http.port)
        yield server


def declared(server: ApiServer) -> str:
    for name in ("myapp-v1", "myapp-v2"):
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}}
        server.store.put({**service, "metadata": {"name": name, "namespace": "default"}})
    spec = {"destination": "myapp", "routes": [route("myapp-v1", 50), route("myapp-v2", 50)]}
    kanary = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "spec": spec}
    made = server.store.put({**kanary, "metadata": {"name": NAME, "namespace": "default"}})
    return str(made["metadata"]["uid"])


@pytest.mark.usefixtures("operator")
def test_what_the_operator_has_is_shown_as_what_a_database_has(kanary: Kanary) -> None:
    assert kanary("history", NAME).out == TABLE
    assert kanary("history", NAME, "--transitions").out == TRANSITIONS
    assert kanary("diff", NAME, "3").out == FROM_2_TO_3.replace("shop/", "default/")
    assert re.search("\nmyapp-v2:http .*  now 50 %\n", kanary("history", NAME, "--plot").out)


@pytest.mark.usefixtures("operator")
def test_what_is_not_there_is_told_alike(kanary: Kanary) -> None:
    printed = kanary("history", "web")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == f"kanary: the history has no Kanary web in namespace default: it has {NAME}\n"
    assert (
        kanary("diff", NAME, "9").err == f"kanary: Kanary {NAME} has no revision 9 in the history, which has 1 to 3\n"
    )
    printed = kanary("history", NAME, "--at", "2026-11-22")
    assert (printed.code, printed.out) == (0, "")
    assert printed.err.startswith("kanary: nothing in the history matches: try another time")


def test_an_undo_needs_no_database(kanary: Kanary, operator: ApiServer) -> None:
    printed = kanary("undo", NAME)
    assert (printed.code, printed.err) == (0, "")
    found = operator.store.get("kanaries", NAME, "default")
    assert found
    assert [r["weight"] for r in found["spec"]["routes"]] == [80, 20]


def test_an_operator_elsewhere_can_be_named(kanary: Kanary, server: ApiServer, url: str) -> None:
    with serving(url) as http:
        put_operator(server, http.port, "ops")
        assert kanary("history", NAME, "-n", "shop", "--operator-namespace", "ops").out == TABLE


def test_without_an_operator_it_is_said_how_it_was_tried_and_what_does_without(
    kanary: Kanary, server: ApiServer
) -> None:
    printed = kanary("history", NAME)
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith(
        f"kanary: no history from the operator in namespace kanary-system of the cluster at {server.url}: "
    )
    assert printed.err.endswith("or read the database itself: --db URL\n")
    assert printed.err.count("\n") == 1


def test_without_the_right_the_role_is_named(kanary: Kanary, server: ApiServer) -> None:
    server.faults.add(Fault.status(403, path="/pods"))
    printed = kanary("history", NAME)
    assert printed.code == 1
    assert "kanary-viewer" in printed.err
    assert printed.err.count("\n") == 1


def test_a_cluster_that_is_away_is_told_with_what_does_without(kanary: Kanary, server: ApiServer) -> None:
    server.faults.add(Fault.drop(path="/pods"))
    printed = kanary("history", NAME)
    assert printed.code == 1
    assert "no response from the API server" in printed.err
    assert "--db URL" in printed.err


def test_without_any_cluster_it_is_said_that_a_database_does(kanary: Kanary, tmp_path: Path) -> None:
    printed = kanary("history", NAME, "--kubeconfig", str(tmp_path / "none"))
    assert printed.code == 1
    assert "none does not exist" in printed.err
    assert "--db URL" in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("text", ["nonsense: [\n", "apiVersion: v1\n", "\x1b[31m", "a: b: c\n  d: \t"])
@pytest.mark.parametrize("command", ["history", "diff", "undo"])
def test_a_kubeconfig_that_is_spoilt_is_told_in_one_line(
    kanary: Kanary, tmp_path: Path, command: str, text: str
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    printed = kanary(command, NAME, *(["1"] if command == "diff" else []), "--kubeconfig", str(file))
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith(f"kanary: kubeconfig {file} cannot be used: ")
    assert printed.err.count("\n") == 1
    assert printed.err.rstrip("\n").isprintable()


def test_what_the_operator_cannot_read_is_told_in_its_words(kanary: Kanary, server: ApiServer, tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path}/none.db") as http:
        put_operator(server, http.port)
        printed = kanary("history", NAME)
    assert printed.code == 1
    assert "there is no history database" in printed.err


def test_pages_of_the_operator_are_put_together(kanary: Kanary, server: ApiServer, tmp_path: Path) -> None:
    many = [history_of(*CHANGES, uid=f"u-{n:04}", namespace="default", name=f"k{n:04}") for n in range(200)]
    url = record(tmp_path / "many.db", many)
    with serving(url) as http:
        put_operator(server, http.port)
        assert len(kanary("history", "-o", "csv").out.splitlines()) == 1 + 3 * 200
