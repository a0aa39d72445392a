"""`kanary list` with the API server for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import Kanary, Printed
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import OWNER, kanary
from tests.unit.observations import DIGEST

Json = dict[str, Any]


class Place:
    """A cluster with Kanaries."""

    def __init__(self, server: ApiServer, kubeconfig: str, run: Kanary) -> None:
        self.server = server
        self._kubeconfig = kubeconfig
        self._run = run

    def put(self, name: str, namespace: str = OWNER.namespace, **status: Any) -> None:
        """A Kanary with this status; without one if it has no phase."""
        good: Json = {
            "observedGeneration": 1,
            "phase": "Ready",
            "reason": "Serving",
            "message": "2 of 2 proxies serve revision 3",
            "since": "2026-11-26T12:00:00.000Z",
            "revision": 3,
            "configHash": DIGEST,
            "weights": [
                {"backend": "myapp-v1:http", "weight": 80, "ready": 2, "actual": 79.6},
                {"backend": "myapp-v2:9090", "weight": 20, "ready": 2, "actual": 20.4},
            ],
            "proxies": {"name": "x", "replicas": 2, "ready": 2},
        }
        written = kanary()
        written["metadata"] |= {"name": name, "namespace": namespace}
        self.server.store.put({**written, "status": good | status} if status.get("phase") != "" else written)

    def list(self, *arguments: str) -> Printed:
        return self._run("list", "--kubeconfig", self._kubeconfig, *arguments)

    def order(self) -> list[str]:
        found = json.loads(self.list("-n", OWNER.namespace, "-o", "json").out)
        return [each["name"] for each in found]


@pytest.fixture
def place(tmp_path: Path, kanary: Kanary) -> Iterator[Place]:
    with ApiServer() as server:
        server.install_crd(without_validation(CRD))
        yield Place(server, str(server.kubeconfig(tmp_path / "kubeconfig")), kanary)


def test_a_row_has_phase_step_proxies_and_the_weights_with_the_actual_shares(place: Place) -> None:
    place.put("web")
    printed = place.list("-n", OWNER.namespace)
    assert (printed.code, printed.err) == (0, "")
    head, line = printed.out.splitlines()
    assert head.split()[:6] == ["NAME", "PHASE", "REASON", "FOR", "STEP", "PROXIES"]
    cells = line.split()
    assert (cells[:4], cells[5:7]) == (["✔", "web", "Ready", "Serving"], ["-", "2/2"])
    assert cells[7:] == ["myapp-v1:http=80→79.6", "myapp-v2:9090=20→20.4"]


def test_a_share_that_is_not_known_is_no_number(place: Place) -> None:
    place.put("web", weights=[{"backend": "myapp-v1:http", "weight": 100}])
    assert "myapp-v1:http=100→?" in place.list("-n", OWNER.namespace).out


def test_those_that_need_attention_come_first(place: Place) -> None:
    down = [{"backend": "myapp-v1:http", "weight": 100, "down": 1}]
    place.put("a-fine")
    place.put("b-fine", since="2026-11-26T13:00:00.000Z")
    place.put("c-down", weights=down)
    place.put("d-rolling", phase="Rolling")
    place.put("e-pending", phase="Pending")
    place.put("f-degraded", phase="Degraded")
    place.put("g-degraded-later", phase="Degraded", since="2026-11-26T13:00:00.000Z")
    place.put("h-outdated", observedGeneration=0)
    place.put("i-new", phase="")
    found = place.order()
    assert set(found[:2]) == {"h-outdated", "i-new"}
    assert found[2:] == ["g-degraded-later", "f-degraded", "e-pending", "d-rolling", "c-down", "a-fine", "b-fine"]


def test_the_message_is_shown_unless_all_is_well(place: Place) -> None:
    place.put("fine", message="this is fine")
    place.put("bad", phase="Degraded", reason="NoReadyEndpoints", message="0 of 3 pods are ready")
    place.put("new", phase="")
    printed = place.list("-n", OWNER.namespace)
    assert "0 of 3 pods are ready" in printed.out
    assert "the operator has not written a status yet" in printed.out
    assert "this is fine" not in printed.out


def test_pods_that_are_down_or_ejected_are_counted(place: Place) -> None:
    place.put("web", weights=[{"backend": "myapp-v1:http", "weight": 100, "down": 1, "ejected": 2}])
    assert "myapp-v1:http: 1 down and 2 ejected" in place.list("-n", OWNER.namespace).out


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_no_line_is_wider_than_the_terminal(place: Place, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("kanary.cli.listing.new_console", lambda: _Narrow(columns))
    place.put("a-name-of-some-length", phase="Degraded", message="名" * 80)
    out = place.list("-A").out
    assert max(map(cell_len, out.splitlines())) <= columns
    assert "Degraded" in out
    assert "myapp-v1:http=80→79.6" in out


class _Narrow:
    def __init__(self, width: int) -> None:
        self.width = width


def test_all_namespaces_are_listed_with_their_names(place: Place) -> None:
    place.put("web")
    place.put("web", namespace="other")
    rows = [line.split()[1] for line in place.list("-A").out.splitlines()[1:]]
    assert rows == ["other/web", "shop/web"]
    assert [line.split()[1] for line in place.list("-n", "other").out.splitlines()[1:]] == ["web"]


def test_json_has_the_routes_of_the_status(place: Place) -> None:
    place.put("web")
    (found,) = json.loads(place.list("-n", OWNER.namespace, "-o", "json").out)
    assert (found["phase"], found["revision"], found["step"], found["proxiesReady"]) == ("Ready", 3, None, 2)
    assert [(route["weight"], route["actual"]) for route in found["routes"]] == [(80, 79.6), (20, 20.4)]


def test_a_namespace_without_kanaries_is_no_error(place: Place) -> None:
    printed = place.list("-n", "empty")
    assert (printed.code, printed.out) == (0, "")
    assert "there is no Kanary in namespace empty" in printed.err
    assert place.list("-n", "empty", "-o", "json").out == "[]\n"


def test_a_reader_without_the_right_to_list_is_an_error(place: Place) -> None:
    place.server.faults.add(Fault.status(403, "GET", "/kanaries"))
    printed = place.list("-A")
    assert (printed.code, printed.out) == (1, "")
    assert "403" in printed.err


def test_a_namespace_and_all_namespaces_exclude_each_other(kanary: Kanary) -> None:
    assert kanary("list", "-A", "-n", "shop").code == 2
