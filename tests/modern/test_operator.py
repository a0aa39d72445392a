"""The operator on a current API server, whose endpoint slices and disruption budgets are of version v1."""

import json

from tests.modern.kanaries import kanary, route
from tests.modern.stage import OWNED, Stage


def serve(stage: Stage) -> None:
    """From nothing to Ready."""
    stage.kubectl.apply(kanary())
    stage.backend("web-v1", "10.0.1.1", "10.0.1.2")
    stage.backend("web-v2", "10.0.2.1")
    stage.await_status("Rolling", "RollingOut")
    stage.roll_out()
    stage.await_status("Ready", "Serving")


def test_a_kanary_waits_rolls_and_is_ready(stage: Stage) -> None:
    with stage.operator():
        stage.kubectl.apply(kanary())
        waiting = stage.await_status("Pending", "BackendNotFound")
        assert 'Service "web-v1" does not exist' in waiting["message"]

        stage.backend("web-v1", "10.0.1.1", "10.0.1.2")
        stage.backend("web-v2", "10.0.2.1")
        rolling = stage.await_status("Rolling", "RollingOut")
        assert rolling["proxies"]["ready"] == 0

        stage.roll_out()
        stage.kubectl("wait", "--for=condition=Ready", "ky/web", "--timeout=30s")
        ready = stage.await_status("Ready", "Serving")
        moves = [entry["to"] for entry in ready["history"]["entries"] if entry["kind"] == "PhaseChange"]
        assert moves == ["Rendering", "Rolling", "Ready"]
        assert [(r["backend"], r["ready"]) for r in ready["weights"]] == [("web-v1:http", 2), ("web-v2:http", 1)]


def test_kubectl_shows_how_far_a_kanary_is(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
    heading, row = (line.split("  ") for line in stage.kubectl("get", "ky", "-o", "wide").strip().splitlines())
    columns = [word.strip() for word in heading if word]
    last = ["REVISION", "ACTUAL", "DOWN", "EJECTED", "DESTINATION"]
    assert columns == ["NAME", "PHASE", "WEIGHTS", "STEP", "READY", "AGE", "REASON", *last]
    values = [word.strip() for word in row if word.strip()]
    assert values[:4] == ["web", "Ready", "web-v1:http=80 web-v2:http=20", "2/2"]
    assert values[5:] == ["Serving", "1", "web"]


def test_what_a_kanary_owns_has_one_field_manager(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
    kanary_uid = stage.kubectl.get("kanary", "web")["metadata"]["uid"]
    for name in OWNED:
        metadata = stage.kubectl.get(name, "--show-managed-fields")["metadata"]
        managers = {entry["manager"] for entry in metadata["managedFields"] if "subresource" not in entry}
        assert managers == {"kanary"}
        assert [owner["uid"] for owner in metadata["ownerReferences"]] == [kanary_uid]
    assert stage.kubectl.get("poddisruptionbudget", "web-haproxy")["apiVersion"] == "policy/v1"


def test_the_status_belongs_to_the_operator_and_the_spec_to_the_user(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
    fields = stage.kubectl.get("kanary", "web", "--show-managed-fields")["metadata"]["managedFields"]
    written = {(entry["manager"], entry.get("subresource")): list(entry["fieldsV1"]) for entry in fields}
    assert written[("kanary", "status")] == ["f:status"]
    assert "f:spec" in written[("kubectl-client-side-apply", None)]


def test_an_operator_that_starts_again_writes_nothing(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
    before = stage.versions()
    with stage.operator():
        # What it does for another Kanary comes after what it has to do for this one.
        stage.kubectl.apply(kanary("later", destination="later"))
        stage.kubectl("wait", "--for=jsonpath={.status.phase}", "ky/later", "--timeout=30s")
    assert stage.versions() == before


def test_another_hand_s_change_is_taken_back(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
        patch = json.dumps({"spec": {"selector": {"kanary.k8s.io/name": "other"}}})
        stage.kubectl("patch", "service", "web", "--type=merge", "-p", patch)
        selected = "--for=jsonpath={.spec.selector.kanary\\.k8s\\.io/name}=web"
        stage.kubectl("wait", selected, "service/web", "--timeout=30s")
        stage.await_status("Ready", "Serving")


def test_new_weights_are_a_new_revision(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
        stage.kubectl.apply(kanary(routes=[route("web-v1", 50), route("web-v2", 50)]))
        stage.await_status("Rolling", "RollingOut")
        stage.roll_out()
        status = stage.await_status("Ready", "Serving")
    assert status["display"]["weights"] == "web-v1:http=50 web-v2:http=50"
    assert status["revision"] == 2


def test_a_move_is_reported_as_an_event(stage: Stage) -> None:
    with stage.operator():
        serve(stage)
        # Events follow the status.
        reported = stage.await_events("Serving", "ConfigurationChanged")
    assert reported["Serving"]["involvedObject"]["name"] == "web"
    assert "web-v1:http=80 web-v2:http=20" in reported["ConfigurationChanged"]["message"]
