"""Which Events a change costs: one if it is served at once, and a story if it takes longer."""

import pytest

from engine.ports import RetryLaterError
from tests.traces.rollouts import PLAN, declare, order, serve, serving_v1, withdraw
from tests.traces.world import World, routes


def serving() -> World:
    """A Kanary of 80 to 20 that is Ready, with all its Events so far removed."""
    world = World()
    for name in ("myapp-v1", "myapp-v2"):
        world.create_service(name, pods=2)
    world.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(myapp_v1=80, myapp_v2=20))
    world.settle()
    world.wait(60)
    world.events.clear()
    return world


def reasons(world: World) -> list[str]:
    """Type and reason of each Event, oldest first."""
    return [event.partition(":")[0] for event in world.events]


def change(world: World, v1: int = 50) -> None:
    world.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(myapp_v1=v1, myapp_v2=100 - v1))


def test_weights_that_are_served_at_once_are_one_event_and_two_statuses() -> None:
    world = serving()
    writes = world.status_writes
    change(world)
    world.settle()
    assert world.events == [
        "Normal WeightsChanged: weights changed from myapp-v1:http=80 myapp-v2:http=20 to "
        "myapp-v1:http=50 myapp-v2:http=50 (revision 2)"
    ]
    assert world.status_writes - writes == 2
    assert [(move.source, move.to) for move in world.moves()][-3:] == [
        ("Ready", "Rendering"),
        ("Rendering", "Rolling"),
        ("Rolling", "Ready"),
    ]


def test_first_weights_change_nothing() -> None:
    world = World()
    world.create_service("myapp-v1", pods=1)
    world.apply_kanary(destination="myapp", updateStrategy="Live", routes=routes(myapp_v1=100))
    world.settle()
    assert reasons(world) == ["Normal Serving"]


def test_a_slow_change_is_told_from_its_beginning() -> None:
    world = serving()
    world.sending_fails = True
    change(world)
    world.settle()
    assert world.status()["phase"] == "Rolling"
    assert reasons(world) == ["Normal ConfigurationChanged", "Normal RollingOut"]
    assert "becomes revision 2" in world.events[0]
    world.live_through(20)
    assert reasons(world)[2:] == ["Normal ReplacingProxies", "Normal WeightsChanged"]
    assert "the proxies are replaced" in world.events[2]


def test_a_fault_is_a_warning_and_its_end_an_event() -> None:
    world = serving()
    world.scale("myapp-v2", 0)
    world.settle()
    assert reasons(world) == ["Warning RouteWithoutEndpoints"]
    world.live_through(60)
    world.scale("myapp-v2", 1)
    world.settle()
    assert reasons(world) == ["Warning RouteWithoutEndpoints", "Normal Serving"]


def test_weights_that_are_served_during_a_fault_are_told_then() -> None:
    world = serving()
    world.scale("myapp-v2", 0)
    world.settle()
    world.events.clear()
    change(world)
    world.settle()
    assert reasons(world) == ["Normal WeightsChanged"]
    assert world.status()["phase"] == "Degraded"


def test_a_change_that_follows_at_once_is_told_with_the_weights_that_were_served() -> None:
    world = serving()
    world.sending_fails = True
    change(world, 50)
    world.step()
    world.step()
    world.sending_fails = False
    change(world, 30)
    world.settle()
    assert world.events == [
        "Normal WeightsChanged: weights changed from myapp-v1:http=80 myapp-v2:http=20 to "
        "myapp-v1:http=30 myapp-v2:http=70 (revision 3)"
    ]


def test_a_phase_that_is_not_written_yet_is_in_the_history_though_the_spec_changes_meanwhile() -> None:
    world = serving()
    world.sending_fails = True
    change(world, 50)
    world.step()
    assert (world.phase(), world.stored_phase()) == ("Rolling", "Rendering")
    change(world, 30)
    world.step()
    assert [(move.source, move.to) for move in world.moves()][-2:] == [
        ("Rendering", "Rolling"),
        ("Rolling", "Rendering"),
    ]


def test_a_process_that_takes_over_continues_from_the_phase_in_the_status() -> None:
    world = serving()
    world.sending_fails = True
    change(world)
    world.step()
    numbers = [entry.number for entry in world.moves()]
    world.scale("myapp-v1", 3)
    world.step()
    world.restart_operator()
    world.sending_fails = False
    world.live_through(20)
    assert world.status()["phase"] == "Ready"
    later = [entry.number for entry in world.moves() if entry.number > numbers[-1]]
    assert later[0] == numbers[-1] + 1
    assert later[-1] <= numbers[-1] + 4


def test_a_slow_change_that_replaces_one_before_any_proxy_received_it_is_told_with_its_own_weights() -> None:
    world = serving()
    world.sending_fails = True
    change(world, 50)
    world.die_after = 1
    with pytest.raises(RetryLaterError):
        world.step()
    world.die_after = None
    change(world, 30)
    world.settle()
    assert reasons(world) == ["Normal ConfigurationChanged", "Normal RollingOut"]
    assert "myapp-v1:http=30 myapp-v2:http=70 becomes revision 3" in world.events[0]


def rolling_out(**spec: object) -> World:
    """A rollout of three steps whose first one is served."""
    world = serving_v1(World())
    declare(world, 0, 100, **spec)
    world.run("v2 is to have all connections")
    return world


STEP = ["Normal StepStarted", "Normal WeightsChanged"]


def test_a_rollout_that_completes_is_its_begin_its_steps_and_its_end() -> None:
    world = rolling_out()
    serve(world, 1000)
    assert reasons(world) == ["Normal Serving", "Normal RolloutBegun", *STEP, *STEP, *STEP, "Normal RolloutCompleted"]
    assert "from myapp-v1:http=100 to myapp-v2:http=100" in world.events[1]
    starts = [event for event in world.events if "StepStarted" in event]
    assert [
        place for event in starts for place in ("1/3 10%", "2/3 50%", "3/3 100%") if f"step {place} starts" in event
    ]
    assert "0 of 6000 connections to myapp-v2:http failed" in starts[1]


def test_a_rollback_is_the_verdict_the_weights_and_the_end() -> None:
    world = rolling_out()
    serve(world, 20, v2=1)
    end = ["Warning VerdictFailed", "Normal WeightsChanged", "Warning RolledBack"]
    assert reasons(world)[2:] == [*STEP, *end]
    assert "failed connections were those of myapp-v2:http" in world.events[-3]


def test_what_people_order_is_an_event_with_their_name_and_reason() -> None:
    world = rolling_out()
    for what in ("pause", "resume", "abort", "retry"):
        order(world, what, by="jane", reason=f"{what} it")
        if what == "resume":
            withdraw(world, "pause")
        world.settle()
    told = {event.partition(":")[0]: event for event in world.events if "jane" in event}
    assert [*told] == ["Normal RolloutPaused", "Normal RolloutResumed", "Warning Aborted", "Normal RolloutBegun"]
    assert "by jane: abort it" in told["Warning Aborted"]


def test_a_step_that_waits_for_a_person_because_it_failed_is_a_warning() -> None:
    world = rolling_out(rollout={**PLAN, "onFailure": "Pause"})
    serve(world, 20, v2=1)
    assert reasons(world)[-1] == "Warning VerdictFailed"


def test_a_step_that_proxies_load_slowly_is_told_from_its_start() -> None:
    world = serving_v1(World())
    world.events.clear()
    world.sending_fails = True
    declare(world, 0, 100)
    world.settle()
    assert reasons(world) == ["Normal RolloutBegun", "Normal StepStarted", "Normal RollingOut"]


@pytest.mark.parametrize("replicas", [0, 1, 5])
def test_who_scales_the_deployment_learns_what_to_scale_instead(replicas: int) -> None:
    world = serving()
    deployment = world.objects["Deployment", "rule-haproxy"]
    for _ in range(3):
        deployment["spec"]["replicas"] = replicas
        world.settle()
        deployment = world.objects["Deployment", "rule-haproxy"]
        assert deployment["spec"]["replicas"] == 2
    told = [event for event in world.events if "ReplicasReverted" in event]
    # The same text each time, so that the cluster has one Event.
    assert told == 3 * [
        "Warning ReplicasReverted: Deployment rule-haproxy was scaled, which is reverted: scale the Kanary "
        "(kubectl scale ky/rule); the scaleTargetRef of a HorizontalPodAutoscaler has apiVersion kanary.k8s.io/v1, "
        "kind Kanary, name rule"
    ]


def test_neither_another_number_in_the_spec_nor_another_change_of_the_deployment_is_such_a_scale() -> None:
    world = serving()
    declared = {"destination": "myapp", "updateStrategy": "Live", "routes": routes(myapp_v1=80, myapp_v2=20)}
    world.apply_kanary(**declared, proxy={"replicas": 3})
    world.settle()
    world.objects["Deployment", "rule-haproxy"]["spec"]["progressDeadlineSeconds"] = 7
    world.settle()
    spec = world.objects["Deployment", "rule-haproxy"]["spec"]
    assert (spec["replicas"], spec["progressDeadlineSeconds"] == 7) == (3, False)
    assert not [event for event in world.events if "ReplicasReverted" in event]
