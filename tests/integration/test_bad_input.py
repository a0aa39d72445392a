"""What bad input gets: phase, reason, and a message that names field, value and way out; and traffic as it was."""

from typing import Any

import pytest

from tests.bad_specs import BAD_ROLLOUTS, BAD_SPECS, EXTERNAL, GOOD, UDP_PORT
from tests.integration.scene import NAMESPACE, Scene, routes


@pytest.fixture
def cluster(lenient_scene: Scene) -> Scene:
    scene = lenient_scene
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.put("v1", "Service", "outside", spec=EXTERNAL)
    scene.backend("names", "10.0.2.1", ports=[UDP_PORT])
    scene.start_operator()
    return scene


@pytest.mark.parametrize("what", BAD_SPECS)
def test_bad_input_degrades_and_leaves_traffic_as_it_was(cluster: Scene, what: str) -> None:
    change, reason, message = BAD_SPECS[what]
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready")
    before = cluster.config()
    cluster.declare(**{**GOOD, **change})
    status = cluster.wait_for_phase("Degraded", reason=reason)
    assert message in status["message"]
    assert cluster.config() == before
    assert status["display"] == {"weights": "myapp-v1:http=80 myapp-v2:http=20", "ready": "2/2"}
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready", revision=1)


@pytest.mark.parametrize("what", BAD_SPECS)
def test_bad_input_at_first_makes_nothing(cluster: Scene, what: str) -> None:
    """Except for proxies beside a destination that exists, so that only a moment passes when it is deleted."""
    change, reason, message = BAD_SPECS[what]
    theirs = cluster.get("services", "outside")
    cluster.declare(**{**GOOD, **change})
    status = cluster.wait_for_phase("Degraded", reason=reason)
    assert message in status["message"]
    if reason == "DestinationExists":
        cluster.wait_for(lambda: cluster.status()["message"].endswith("2 of 2 proxies serve revision 1"))
        assert cluster.get("services", "outside") == theirs
    else:
        assert not cluster.get("configmaps", "rule-haproxy")


def test_bad_rollouts_degrade_and_leave_traffic_as_it_was(cluster: Scene) -> None:
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready")
    before = cluster.config()
    for what, (change, message) in BAD_ROLLOUTS.items():
        cluster.declare(**{**GOOD, **change})
        status = cluster.wait_for_phase("Degraded", reason="InvalidSpec")
        assert message in status["message"], what
    assert cluster.config() == before
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready", revision=1)


def test_a_backend_that_does_not_exist_is_awaited_at_first_and_degrades_later(cluster: Scene) -> None:
    typo = {**GOOD, "routes": routes(myapp_v1=80, myapp_v9=20)}
    cluster.declare(**typo)
    status = cluster.wait_for_phase("Pending", reason="BackendNotFound")
    assert status["message"] == (
        'spec.routes[1].backend.serviceName: Service "myapp-v9" does not exist in namespace shop: '
        "create it, or name one that does"
    )
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready")
    before = cluster.config()
    cluster.declare(**typo)
    cluster.wait_for_phase("Degraded", reason="BackendNotFound")
    assert cluster.config() == before


def test_a_name_that_is_no_dns_label_is_refused(cluster: Scene) -> None:
    for name in ("a.b", "x" * 56):
        cluster.declare(name, **GOOD)
        status = cluster.wait_for_phase("Degraded", name, reason="InvalidName")
        assert f'metadata.name is "{name}": must be a DNS label' in status["message"]
        assert "at most 55 characters" in status["message"]


def test_the_loss_of_all_endpoints_is_reported_and_recovered(cluster: Scene) -> None:
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready")
    cluster.endpoints("myapp-v1")
    cluster.endpoints("myapp-v2")
    status = cluster.wait_for_phase("Degraded", reason="NoReadyEndpoints")
    assert "none of myapp-v1:http (weight 80), myapp-v2:http (weight 20) has a ready endpoint" in status["message"]
    cluster.endpoints("myapp-v1", "10.0.0.1")
    cluster.endpoints("myapp-v2", "10.0.1.1")
    cluster.wait_for_phase("Ready")


@pytest.mark.parametrize("garbage", [{"phase": "Dancing"}, {"phase": "Ready", "revision": 7}, {"history": []}])
def test_a_spoilt_status_is_recovered_from(cluster: Scene, garbage: dict[str, Any]) -> None:
    cluster.declare(**GOOD)
    cluster.wait_for_phase("Ready")
    before = cluster.config()
    cluster.server.store.change("kanaries", "rule", lambda k: k.update(status=garbage), NAMESPACE)
    cluster.wait_for(lambda: cluster.status().get("display"))
    cluster.wait_for_phase("Ready")
    assert cluster.config() == before
