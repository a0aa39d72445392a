"""Rollouts by steps, as stories."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from engine.fleet.reports import Report
from engine.model.states import read_written
from states.evidence import Counts
from tests.traces.world import World, routes

STEPS = [{"to": 10, "for": "5m"}, {"to": 50, "for": "5m"}, {"to": 100, "for": "5m"}]


@pytest.fixture
def serving(world: World) -> World:
    """A Kanary whose connections all go to the first version."""
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 100, 0)
    world.run("two Services with pods, and a Kanary of 100 to 0")
    return world


def declare(world: World, v1: float, v2: float, **spec: object) -> None:
    kanary = {"destination": "myapp", "routes": routes(myapp_v1=v1, myapp_v2=v2), "updateStrategy": "Live"}
    world.apply_kanary(**kanary | {"rollout": {"steps": STEPS}} | spec)


def connect(world: World, count: int, **failing: float) -> None:
    """Clients connect at each proxy; of those of a version, every so many fail: `v2=0.5` is every second one."""
    applied = read_written(world.objects["ConfigMap", "rule-haproxy"]).applied
    assert applied
    for name, report in world.reported.items():
        if report.digest == applied.digest:
            counts = _counted(report, applied.revision, {str(r.backend): r.weight for r in applied.spec.routes}, count)
            failed = {backend: _failed(backend, found, failing) for backend, found in counts.items()}
            revisions = {**report.revisions, applied.revision: failed}
            world.reported[name] = replace(report, ledger=name, revisions=revisions)


def _counted(report: Report, revision: int, weights: Mapping[str, Decimal], count: int) -> Mapping[str, Counts]:
    known = report.revisions.get(revision, {})
    return {
        backend: replace(known.get(backend, Counts()), connections=known.get(backend, Counts()).connections + more)
        for backend, weight in weights.items()
        if (more := int(count * weight / 100))
    }


def _failed(backend: str, counts: Counts, failing: Mapping[str, float]) -> Counts:
    version = backend.partition(":")[0].removeprefix("myapp-")
    return replace(counts, failed=int(counts.connections * failing.get(version, 0)))


def serve(world: World, seconds: int, *, rate: int = 100, stride: int = 10, **failing: float) -> None:
    """Time passes, with so many connections each second at each proxy."""
    for _ in range(seconds // stride):
        connect(world, rate * stride, **failing)
        world.live_through(stride)


def weights(world: World) -> str:
    return str(world.status()["display"]["weights"])


def state(world: World) -> tuple[str, str]:
    return world.status()["rollout"]["state"], world.status()["reason"]


def test_a_good_version_reaches_all_connections(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    assert weights(serving) == "myapp-v1:http=90 myapp-v2:http=10"
    assert serving.status()["display"]["step"] == "1/3 10%"
    serve(serving, 300)
    assert weights(serving) == "myapp-v1:http=50 myapp-v2:http=50"
    serve(serving, 610)
    assert serving.status()["phase"] == "Ready"
    assert weights(serving) == "myapp-v1:http=0 myapp-v2:http=100"
    assert "step" not in serving.status()["display"]


def test_a_version_that_resets_everything_goes_back(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 1, stride=1, v2=1.0)
    assert weights(serving) == "myapp-v1:http=100 myapp-v2:http=0"
    assert (serving.status()["phase"], serving.status()["reason"]) == ("Degraded", "RolledBack")
    serve(serving, 20)
    assert weights(serving) == "myapp-v1:http=100 myapp-v2:http=0"
    declare(serving, 100, 0)
    serving.run("the spec declares the last good weights again")
    assert serving.status()["phase"] == "Ready"


def test_a_step_waits_until_a_bad_version_would_have_been_found(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections, and only one client connects each second")
    serve(serving, 310, rate=1)
    assert state(serving) == ("Waiting", "WaitingForEvidence")
