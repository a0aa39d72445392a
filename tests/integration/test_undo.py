"""`kanary undo` with the operator: what it reads from it, and what the operator makes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kanary.cli.main import main
from tests.history.serving import put_operator
from tests.integration.scene import NAMESPACE, Scene, routes

Undo = Callable[[], str]


@pytest.fixture
def undo(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Undo:
    """Runs the command, which reads the history over a port-forward to an operator."""
    scene.history_url = f"sqlite:///{tmp_path}/history.db"
    scene.backend("myapp-v1", "10.0.0.1")
    ports = [{"name": "http", "port": 80}, {"name": "new", "port": 9090}]
    scene.put("v1", "Service", "myapp-v1", spec={"ports": ports})
    scene.backend("myapp-v2", "10.0.1.1")
    operator = scene.start_operator().operator
    put_operator(scene.server, operator.history_port)

    def run() -> str:
        arguments = ["undo", "rule", "-n", NAMESPACE, "--kubeconfig", scene.kubeconfig]
        # The history may be behind for a moment, and then nothing is written.
        scene.wait_for(lambda: main(arguments) == 0, lambda: capsys.readouterr().err)
        return capsys.readouterr().out

    return run


def shift(scene: Scene, revision: int, *declared: object) -> None:
    scene.declare(destination="myapp", routes=list(declared))
    scene.wait_for_phase("Ready", revision=revision)


def served(scene: Scene, revision: int) -> dict[str, float]:
    status = scene.wait_for_phase("Ready", revision=revision)
    return {each["backend"]: each["weight"] for each in status["weights"]}


def test_undone_weights_are_a_new_revision_and_undone_again_the_change_is_back(scene: Scene, undo: Undo) -> None:
    shift(scene, 1, *routes(myapp_v1=80, myapp_v2=20))
    shift(scene, 2, *routes(myapp_v1=50, myapp_v2=50))
    assert "(undo to revision 1)" in undo()
    assert served(scene, 3) == {"myapp-v1:http": 80, "myapp-v2:http": 20}
    assert "(undo to revision 2)" in undo()
    assert served(scene, 4) == {"myapp-v1:http": 50, "myapp-v2:http": 50}


def test_weights_with_a_decimal_come_back_as_they_were(scene: Scene, undo: Undo) -> None:
    """From the spec through the status and the database into the spec."""
    shift(scene, 1, *routes(myapp_v1=33.3, myapp_v2=66.7))
    status = scene.wait_for_phase("Ready", revision=1)
    assert status["display"]["weights"] == "myapp-v1:http=33.3 myapp-v2:http=66.7"
    shift(scene, 2, *routes(myapp_v1=50.0, myapp_v2=50))
    assert "myapp-v1:http=50 myapp-v2:http=50 becomes myapp-v1:http=33.3 myapp-v2:http=66.7" in undo()
    assert served(scene, 3) == {"myapp-v1:http": 33.3, "myapp-v2:http": 66.7}


def test_a_change_of_a_port_is_a_revision_that_can_be_undone(scene: Scene, undo: Undo) -> None:
    before = routes(myapp_v1=50, myapp_v2=50)
    moved = {"backend": {"serviceName": "myapp-v1", "servicePort": "new"}, "weight": 50}
    shift(scene, 1, *before)
    # The pods leave the port, and come back to it.
    scene.endpoints("myapp-v1", "10.0.0.1", names=["new"])
    shift(scene, 2, moved, before[1])
    assert served(scene, 2) == {"myapp-v1:new": 50, "myapp-v2:http": 50}
    scene.endpoints("myapp-v1", "10.0.0.1", names=["http"])
    assert "(undo to revision 1)" in undo()
    assert served(scene, 3) == {"myapp-v1:http": 50, "myapp-v2:http": 50}
