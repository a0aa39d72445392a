"""Moments that are rare: stale leaders, objects of a former Kanary, proxies that load nothing, defects that repeat."""

import copy
from contextlib import suppress
from dataclasses import replace

import pytest

from engine.last_status import read_status
from engine.model.entries import WeightChange
from engine.model.states import read_written
from engine.ports import RetryLaterError
from tests.traces.test_live import declare, proxies, strategy
from tests.traces.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def serving(world: World) -> World:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.settle()
    assert world.status()["phase"] == "Ready"
    return world


def noted(world: World) -> list[int]:
    return [e.revision for e in world.entries.values() if isinstance(e, WeightChange)]


def served(world: World) -> int:
    applied = read_written(world.objects["ConfigMap", "rule-haproxy"]).applied
    assert applied
    return applied.revision


def collect(world: World) -> None:
    for key in [k for k, o in world.objects.items() if (o["metadata"].get("ownerReferences"))]:
        del world.objects[key]
    for key in [k for k in world.objects if k[0] == "Pod"]:
        del world.objects[key]
    world.objects.pop(("EndpointSlice", "myapp"), None)
    world.reported.clear()
    world.heard.clear()


def test_recreated_kanary_notes_what_it_serves(serving: World) -> None:
    serving.remove("Kanary", "rule")
    serving.reconciler.reconcile("default", "rule")
    serving.entries.clear()
    declare(serving, 80, 20)
    with suppress(RetryLaterError):
        serving.settle()
    collect(serving)
    serving.settle()
    serving.settle()
    assert served(serving) in noted(serving)


def test_a_recreated_kanary_takes_what_the_former_one_left(serving: World) -> None:
    declare(serving, 50, 50)
    serving.settle()
    serving.remove("Kanary", "rule")  # kubectl delete --cascade=orphan
    for obj in serving.objects.values():
        obj["metadata"].pop("ownerReferences", None)
    declare(serving, 50, 50)
    serving.settle()
    assert serving.status()["phase"] == "Ready"
    owned = [obj for (kind, _), obj in serving.objects.items() if kind in ("Service", "ConfigMap", "Deployment")]
    assert all(obj["metadata"]["ownerReferences"] for obj in owned if obj["metadata"].get("labels"))


def test_a_stale_leader_turns_nothing_back(serving: World) -> None:
    old = {k: copy.deepcopy(serving.objects[k]) for k in (("Kanary", "rule"), ("ConfigMap", "rule-haproxy"))}
    declare(serving, 50, 50, proxy={"replicas": 5})
    serving.settle()
    assert serving.objects["Deployment", "rule-haproxy"]["spec"]["replicas"] == 5
    fresh = serving._get
    serving._get = lambda kind, ns, name: (
        copy.deepcopy(old[kind, name]) if (kind, name) in old else fresh(kind, ns, name)
    )
    with suppress(RetryLaterError):
        serving.reconciler.reconcile("default", "rule")
    assert serving.objects["Deployment", "rule-haproxy"]["spec"]["replicas"] == 5


def test_a_stale_leader_turns_no_weights_back_rolling(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20, updateStrategy="Rolling")
    world.settle()
    old = {k: copy.deepcopy(world.objects[k]) for k in (("Kanary", "rule"), ("ConfigMap", "rule-haproxy"))}
    declare(world, 50, 50, updateStrategy="Rolling")
    world.settle()
    want = world.objects["Deployment", "rule-haproxy"]["spec"]["template"]["metadata"]["annotations"]
    fresh = world._get
    world._get = lambda kind, ns, name: copy.deepcopy(old[kind, name]) if (kind, name) in old else fresh(kind, ns, name)
    with suppress(RetryLaterError):
        world.reconciler.reconcile("default", "rule")
    assert world.objects["Deployment", "rule-haproxy"]["spec"]["template"]["metadata"]["annotations"] == want


def test_endpoints_that_are_loaded_in_time_exceed_no_deadline(serving: World) -> None:
    declare(serving, 80, 20, progressDeadlineSeconds=20)
    serving.settle()
    serving.live_through(5)
    serving.sending_fails = True
    serving.scale("myapp-v1", 3)
    serving.live_through(0.85)
    moves = len(serving.moves())
    for number in range(30):
        serving.scale("myapp-v1", 2 + number % 2)
        serving.live_through(0.4)
        for name in proxies(serving):
            serving._renew(name)  # each change is loaded within 0.4 s
        serving.live_through(0.6)
    assert len(serving.moves()) == moves, serving.moves()[-1]


def test_proxies_that_load_nothing_are_replaced_though_pods_come_and_go(serving: World) -> None:
    serving.sending_fails = True
    declare(serving, 50, 50)
    for number in range(30):
        serving.scale("myapp-v1", 2 + number % 2)
        serving.live_through(10)
    assert strategy(serving) == "Rolling"


def test_pods_that_come_and_go_change_no_phase_of_an_exhausted_kanary(serving: World) -> None:
    serving.scale("myapp-v1", 10)
    serving.settle()
    serving.live_through(60)
    serving.reported = {n: replace(r, is_full=True) for n, r in serving.reported.items()}
    serving.live_through(60)
    assert serving.status()["phase"] == "Degraded"
    events = len(serving.events)
    for number in range(10):
        serving.reported = {n: replace(r, draining=12, is_full=True) for n, r in serving.reported.items()}
        serving.scale("myapp-v1", 11 + number % 2)
        serving.live_through(5)
    assert len(serving.events) == events


def test_a_new_kanary_whose_spec_is_corrected_waits_for_its_first_endpoints(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 0)
    declare(world, 80, 10)
    world.settle()
    assert world.status()["phase"] == "Degraded"
    declare(world, 80, 20)
    world.settle()
    assert world.status()["reason"] == "WaitingForEndpoints", world.status()["message"]


def test_numbers_are_given_once_though_the_status_is_lost_twice(serving: World) -> None:
    numbers: list[tuple[int, str]] = []
    for _ in range(2):
        serving.objects["Kanary", "rule"].pop("status")
        serving.entries.clear()
        serving.wait(60)
        serving.settle()
        numbers.append(set(serving.entries))
    assert not numbers[0] & numbers[1], numbers


def test_event_of_changed_weights_is_right_after_a_crash(serving: World) -> None:
    declare(serving, 50, 50)
    serving.die_after = 2
    with suppress(RetryLaterError):
        serving.settle()
    serving.die_after = None
    serving.settle()
    changes = [e for e in serving.events if "WeightsChanged" in e]
    assert changes == [
        "Normal WeightsChanged: weights changed from myapp-v1:http=80 myapp-v2:http=20 to "
        "myapp-v1:http=50 myapp-v2:http=50 (revision 2)"
    ], changes


def test_an_entry_of_another_shape_costs_no_others(serving: World) -> None:
    history = serving.objects["Kanary", "rule"]["status"]["history"]
    last = history["last"]
    history["entries"].append(
        {"number": last + 1, "at": "2026-11-23T12:00:00.000Z", "kind": "PhaseChange", "to": "Ready"}
    )
    history["last"] = last + 1
    after = read_status(serving.objects["Kanary", "rule"]).history
    assert after and after.last == last + 1 and len(after.entries) == len(history["entries"])


def test_the_first_configuration_of_a_revision_is_in_the_history(serving: World) -> None:
    declare(serving, 50, 50)
    serving.die_after = 1
    with suppress(RetryLaterError):
        serving.settle()
    serving.die_after = None
    serving.scale("myapp-v1", 3)
    serving.settle()
    change = [e for e in serving.entries.values() if isinstance(e, WeightChange)][-1]
    assert change.revision == 2
    assert change.digest in serving.configurations


def test_a_defect_is_reported_once(serving: World) -> None:
    before = serving.status_writes
    for number in range(5):
        serving.reconciler.report_defect("default", "rule", RuntimeError(f"<object at {number:#x}>"))
    assert serving.status_writes - before == 1


def test_a_change_has_the_weights_before_it_though_the_config_map_is_lost(serving: World) -> None:
    serving.remove("ConfigMap", "rule-haproxy")
    declare(serving, 50, 50)
    serving.settle()
    change = [e for e in serving.entries.values() if isinstance(e, WeightChange)][-1]
    assert [share.weight for share in change.before] == [80, 20]
