"""A whole step: weights are in the status before they are served, counts are written seldom, defects are reported."""

import json
from datetime import timedelta
from typing import Any

import pytest

from engine import plan
from engine.model.entries import PhaseChange
from engine.model.states import Applied
from engine.render.config import ProxyConfig
from engine.render.haproxy import Draft, draft
from tests.traces.world import NAMESPACE, World, routes
from tests.unit.kanaries import Json
from tests.unit.test_observe import weight_changes, world

SECOND = timedelta(seconds=1)


class Watched(World):
    """Notes which weights the status has whenever a configuration is written."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[int, int]] = []

    def apply(self, desired: Json) -> None:
        super().apply(desired)
        if desired["kind"] == "ConfigMap":
            status: Any = self.status()
            written = Applied.model_validate_json(desired["data"]["applied.json"])
            self.noted.append((written.revision, status["split"]["revision"]))


def test_no_configuration_is_written_whose_weights_the_status_does_not_have() -> None:
    found = Watched()
    for name in ("v1", "v2"):
        found.create_service(name, pods=2)
    for weight in range(10, 90, 10):
        found.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(v1=weight, v2=100 - weight))
        found.step()
        if weight % 20:
            found.step()
    found.settle()
    assert found.noted
    assert all(written == noted for written, noted in found.noted)
    assert [change.before for change in weight_changes(found)][1:] == [c.after for c in weight_changes(found)][:-1]


class Awaited(World):
    """Notes the declared and the served weights whenever `kubectl wait --for=condition=Ready` would return."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: list[tuple[list[float], list[float]]] = []

    def forget(self, namespace: str, name: str) -> None:
        pass

    def write_status(self, kanary: Json, status: Json) -> Json:
        ready = next(c for c in status["conditions"] if c["type"] == "Ready")
        current = self.objects["Kanary", "rule"]
        if ready["status"] == "True" and ready["observedGeneration"] >= current["metadata"]["generation"]:
            declared = [route["weight"] for route in current["spec"]["routes"]]
            self.returned.append((declared, [route["weight"] for route in status["weights"]]))
        return super().write_status(kanary, status)


@pytest.mark.parametrize("strategy", ["Live", "Rolling"])
def test_a_wait_for_ready_after_a_change_returns_when_its_weights_are_served(strategy: str) -> None:
    found = Awaited()
    for name in ("v1", "v2"):
        found.create_service(name, pods=2)
    for number, weight in enumerate([80, 50, 12.5, 99.5]):
        found.apply_kanary(destination="myapp", updateStrategy=strategy, routes=routes(v1=weight, v2=100 - weight))
        found.sending_fails = True
        found.step()
        found.scale("v1", 2 + number % 2)
        found.step()
        found.sending_fails = False
        found.live_through(100)
        assert found.returned[-1][0] == [weight, 100 - weight]
    assert all(declared == served for declared, served in found.returned)


def test_pods_that_come_and_go_cost_no_move_no_event_and_at_most_one_status_a_second() -> None:
    found = world()
    events, writes, phases = len(found.events), found.status_writes, len(found.status()["history"]["entries"])
    begun = found.time
    for number in range(40):
        found.scale("v1", 2 + number % 2)
        found.live_through(0.25)
    assert len(found.events) == events
    assert len(found.status()["history"]["entries"]) == phases
    assert found.status()["phase"] == "Ready"
    assert found.status_writes - writes <= (found.time - begun) / SECOND + 1
    assert found.config().count("  server 10.0.") == 5


def test_the_status_of_new_endpoints_is_written_once_when_the_proxies_have_reported() -> None:
    found = world()
    writes = found.status_writes
    found.sending_fails = True
    found.scale("v1", 3)
    found.step()
    found.wait(0.5)
    found.sending_fails = False
    found.wait(0)
    found.step()
    assert found.status_writes == writes
    found.live_through(5)
    assert found.status_writes == writes + 1
    assert (found.status()["proxies"]["updated"], found.status()["weights"][0]["ready"]) == (2, 3)


def test_each_change_of_pods_is_rendered_once_over_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    found, rendered = world(), list[ProxyConfig]()

    def counted(config: ProxyConfig) -> Draft:
        rendered.append(config)
        return draft(config)

    monkeypatch.setattr(plan, "draft", counted)
    for pods in (3, 2, 3):
        found.scale("v1", pods)
        found.live_through(30)
    assert len(rendered) == 3


# Defects of ours


def ready(found: World) -> tuple[str, str]:
    (ready,) = (c for c in found.status()["conditions"] if c["type"] == "Ready")
    return ready["status"], ready["reason"]


def test_a_defect_is_reported_until_a_step_succeeds_and_the_proxies_are_left_alone() -> None:
    found = world()
    before = found.status()
    config = found.config()
    for _ in range(2):
        writes = found.status_writes
        found.reconciler.report_defect(NAMESPACE, "rule", KeyError("spec"))
    assert found.status_writes == writes
    assert ready(found) == ("Unknown", "ReconcileFailed")
    assert "reconcile failed: KeyError: 'spec'" in found.status()["conditions"][0]["message"]
    assert (found.config(), found.status()["phase"]) == (config, "Ready")
    found.settle()
    assert ready(found) == ("True", "Serving")
    assert {key: value for key, value in found.status().items() if key != "conditions"} == {
        key: value for key, value in before.items() if key != "conditions"
    }


def test_a_defect_of_a_kanary_that_is_gone_is_ignored() -> None:
    found = world()
    found.remove("Kanary", "rule")
    found.reconciler.report_defect(NAMESPACE, "rule", KeyError("spec"))
    assert found.kanary(NAMESPACE, "rule") is None


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "being deleted"])
def test_a_move_whose_status_is_held_is_in_the_history_of_a_kanary_that_is_deleted_meanwhile(is_gone: bool) -> None:
    found = world()
    found.sending_fails = True
    found.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(v1=10, v2=90))
    found.step()
    assert (found.phase(), found.stored_phase()) == ("Rolling", "Rendering")
    if is_gone:
        found.remove("Kanary", "rule")
    else:
        found.objects["Kanary", "rule"]["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    found.reconciler.reconcile(NAMESPACE, "rule")
    last = found.entries[max(found.entries)]
    assert isinstance(last, PhaseChange)
    assert (last.source, last.to) == ("Rendering", "Rolling")


def test_a_kanary_that_is_paused_without_another_change_stays_ready_also_if_a_former_leader_writes() -> None:
    found = world()
    spec = found.objects["Kanary", "rule"]["spec"]
    found.apply_kanary(**spec | {"paused": True})
    found.settle()
    assert found.status()["phase"] == "Ready"
    data = found.objects["ConfigMap", "rule-haproxy"]["data"]
    written = json.loads(data["applied.json"])
    data["applied.json"] = json.dumps(written | {"entry": written["entry"] + 1})
    found.settle()
    found.live_through(5)
    assert found.status()["phase"] == "Ready"
