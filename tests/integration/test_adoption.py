"""What is there already: objects that a former Kanary of the name left, and Services with traffic."""

from typing import Any

import pytest

from tests.integration.scene import NAMESPACE, Scene, routes

Json = dict[str, Any]

OURS = {
    "configmaps": "rule-haproxy",
    "deployments": "rule-haproxy",
    "poddisruptionbudgets": "rule-haproxy",
    "services": "myapp",
}
SPLIT = {"destination": "myapp", "routes": routes(myapp_v1=100)}


@pytest.fixture
def orphaned(scene: Scene) -> Scene:
    """What `kubectl delete --cascade=orphan` leaves of a Kanary."""
    scene.backend("myapp-v1", "10.0.0.1")
    with scene.operating():
        scene.declare(**SPLIT)
        scene.wait_for_phase("Ready")
    for kind, name in OURS.items():
        scene.server.store.change(kind, name, lambda obj: obj["metadata"].pop("ownerReferences"), NAMESPACE)
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    return scene


def test_a_new_kanary_owns_what_the_former_one_of_its_name_left(orphaned: Scene) -> None:
    before = {kind: (orphaned.get(kind, name) or {})["metadata"]["uid"] for kind, name in OURS.items()}
    orphaned.declare(**SPLIT)
    orphaned.start_operator()
    orphaned.wait_for_phase("Ready")
    kanary = orphaned.kanary() or {}
    for kind, name in OURS.items():
        metadata = (orphaned.get(kind, name) or {})["metadata"]
        assert metadata["uid"] == before[kind], kind
        assert [each["uid"] for each in metadata["ownerReferences"]] == [kanary["metadata"]["uid"]], kind
    orphaned.endpoints("myapp-v1", "10.0.0.9")
    orphaned.wait_for(lambda: "10.0.0.9:9000" in orphaned.config())


def test_what_a_forged_object_says_is_not_served(orphaned: Scene) -> None:
    """Whoever may write a ConfigMap, and no Kanary, gains nothing by one that looks like a former one."""
    text = (orphaned.get("configmaps", "rule-haproxy") or {})["data"]["applied.json"]
    forged = text.replace("10.0.0.1", "10.6.6.6")
    assert forged != text
    orphaned.server.store.change(
        "configmaps", "rule-haproxy", lambda obj: obj["data"].update({"applied.json": forged}), NAMESPACE
    )
    # No backend answers: a last good configuration would be served.
    orphaned.endpoints("myapp-v1")
    orphaned.declare(**SPLIT)
    orphaned.start_operator()
    orphaned.wait_for_phase("Pending", reason="WaitingForEndpoints")
    orphaned.endpoints("myapp-v1", "10.0.0.2")
    orphaned.wait_for_phase("Ready")
    assert "10.6.6.6" not in orphaned.config()


@pytest.mark.parametrize("missing", ["label", "hash"])
def test_an_object_that_no_kanary_wrote_is_not_taken(orphaned: Scene, missing: str) -> None:
    def strip(obj: Json) -> None:
        part = {"label": "labels", "hash": "annotations"}[missing]
        obj["metadata"][part] = {key: value for key, value in obj["metadata"][part].items() if "kanary" not in key}

    orphaned.server.store.change("deployments", "rule-haproxy", strip, NAMESPACE)
    orphaned.declare(**SPLIT)
    orphaned.start_operator()
    orphaned.wait_for_phase("Degraded", reason="ObjectExists")
    assert not (orphaned.get("deployments", "rule-haproxy") or {})["metadata"].get("ownerReferences")
