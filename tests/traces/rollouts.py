"""What tests of rollouts do with a `World`: they declare, connect as clients do, give orders, and read the status."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from engine.fleet.reports import Report
from engine.last_status import read_status
from engine.model.entries import ChangeResult, Entry, RolloutChange, WeightChange
from engine.model.states import read_written
from states.evidence import Counts
from tests.traces.world import World, routes

STEPS = [{"to": 10, "for": "5m"}, {"to": 50, "for": "5m"}, {"to": 100, "for": "5m"}]
PLAN: dict[str, Any] = {"steps": STEPS}
OLD, NEW = "myapp-v1:http=100 myapp-v2:http=0", "myapp-v1:http=0 myapp-v2:http=100"
TENTH, HALF = "myapp-v1:http=90 myapp-v2:http=10", "myapp-v1:http=50 myapp-v2:http=50"


def declare(world: World, v1: float, v2: float, **spec: object) -> None:
    declare_routes(world, {"myapp_v1": v1, "myapp_v2": v2}, **spec)


def declare_routes(world: World, weights: Mapping[str, float], **spec: object) -> None:
    """The weights by Service; a field that is None is left out."""
    kanary = {"destination": "myapp", "routes": routes(**weights), "updateStrategy": "Live", "rollout": PLAN} | spec
    world.apply_kanary(**{field: value for field, value in kanary.items() if value is not None})


def serving_v1(world: World) -> World:
    """A Kanary whose connections all go to the first version."""
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 100, 0)
    world.run("two Services with pods, and a Kanary of 100 to 0")
    return world


def order(world: World, what: str, *, by: str = "ann", reason: str = "", **fields: int) -> None:
    """What `kanary promote` and the others write."""
    number = world.status()["rollout"]["number"]
    world.annotate(f"kanary.k8s.io/{what}", json.dumps({"rollout": number, "by": by, "reason": reason} | fields))


def withdraw(world: World, what: str) -> None:
    """Remove such an order."""
    world.annotate(f"kanary.k8s.io/{what}", None)


def connect(world: World, count: int, **failing: float) -> None:
    """Clients connect at each proxy; of those of a version, every so many fail: `v2=0.5` is every second one."""
    applied = read_written(world.objects.get(("ConfigMap", "rule-haproxy"))).applied
    if applied is None:
        return
    for name, report in world.reported.items():
        if report.digest == applied.digest:
            counts = _counted(report, applied.revision, {str(r.backend): r.weight for r in applied.spec.routes}, count)
            failed = {backend: _failed(backend, *found, failing) for backend, found in counts.items()}
            revisions = {**report.revisions, applied.revision: {**report.revisions.get(applied.revision, {}), **failed}}
            world.reported[name] = replace(report, ledger=report.ledger or f"{name} {world.time}", revisions=revisions)


def _counted(
    report: Report, revision: int, weights: Mapping[str, Decimal], count: int
) -> Mapping[str, tuple[Counts, int]]:
    known = report.revisions.get(revision, {})
    return {
        backend: (known.get(backend, Counts()), more)
        for backend, weight in weights.items()
        if (more := int(count * weight / 100))
    }


def _failed(backend: str, known: Counts, more: int, failing: Mapping[str, float]) -> Counts:
    version = backend.partition(":")[0].removeprefix("myapp-")
    return Counts(known.connections + more, known.failed + int(more * failing.get(version, 0)))


def serve(world: World, seconds: int, *, rate: int = 100, stride: int = 10, **failing: float) -> None:
    """Time passes, with so many connections each second at each proxy."""
    for _ in range(seconds // stride):
        connect(world, rate * stride, **failing)
        world.live_through(stride)


def weights(world: World) -> str:
    return str(world.status()["display"]["weights"])


def state(world: World) -> tuple[str, str]:
    return world.status()["rollout"]["state"], world.status()["reason"]


def phase(world: World) -> tuple[str, str]:
    return world.status()["phase"], world.status()["reason"]


def message(world: World) -> str:
    return str(world.status()["message"])


def entries(world: World) -> list[Entry]:
    """All entries that a status ever had, in their order."""
    status = read_status(world.objects["Kanary", "rule"]).history
    latest = {entry.number: entry for entry in (status.entries if status else ())}
    return [entry for _, entry in sorted((world.entries | latest).items())]


def revisions(world: World) -> list[tuple[int, int | None, str | None, str]]:
    """The changes of weights: revision, rollout, step, weights."""
    return [
        (each.revision, each.rollout, each.step, " ".join(f"{s.backend}={s.weight}" for s in each.after))
        for each in entries(world)
        if isinstance(each, WeightChange)
    ]


def results(world: World) -> dict[int, str]:
    """The first result of each revision, as the history keeps it."""
    found: dict[int, str] = {}
    for each in entries(world):
        if isinstance(each, ChangeResult):
            found.setdefault(each.revision, each.result)
    return found


def moves(world: World) -> list[str]:
    """The moves of the rollout."""
    return [f"{each.source} -> {each.to}" for each in entries(world) if isinstance(each, RolloutChange)]
