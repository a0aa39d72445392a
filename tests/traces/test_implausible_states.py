"""Numbers that nobody has counted, in a status or a ConfigMap: no reconcile fails, and none is counted on."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from engine.last_status import read_status
from engine.model.states import APPLIED_KEY, applied_in
from engine.model.times import read_time
from engine.render.objects import GENERATION_ANNOTATION, generation_of
from tests.traces.test_live import declare
from tests.traces.world import World

Json = dict[str, Any]
Path = tuple[str | int, ...]

IN_THE_STATUS: tuple[Path, ...] = (
    ("revision",),
    ("observedGeneration",),
    ("split", "revision"),
    ("split", "generation"),
    ("history", "last"),
    ("history", "lost"),
    ("history", "entries"),
    ("history", "entries", -1),
    ("history", "entries", -1, "number"),
    ("history", "entries", -1, "revision"),
    ("rollout", "number"),
    ("rollout", "step"),
    ("rollout", "seconds"),
    ("weights", 0, "connections"),
)
IN_THE_CONFIG_MAP: tuple[Path, ...] = (
    ("generation",),
    ("revision",),
    ("serial",),
    ("splitSerial",),
    ("entry",),
    ("rollout", "number"),
    ("rollout", "seconds"),
    ("slots", 0, 0),
    ("endpoints", "myapp-v1:http", 0, 1),
)
NUMBERS = (10**15, 2**53 - 1, 2**63 - 1, 10**30, -1, -(10**18), float("nan"), float("inf"))
REAL = 1000
"""No number of a revision or generation in these tests is as large."""


def put(value: Any, path: Path, number: float) -> Any:
    changed = copy.deepcopy(value)
    *parents, last = path
    inner = changed
    for each in parents:
        inner = inner[each]
    inner[last] = number
    return changed


@pytest.fixture
def rolling() -> World:
    """In the first step of a rollout."""
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.settle()
    declare(world, 20, 80, rollout={"steps": [{"to": 50, "for": "1m"}, {"to": 100}]})
    world.settle()
    return world


def lives_on(world: World) -> None:
    for weight in (50, 60):
        declare(world, weight, 100 - weight)
        world.settle()
        world.wait(40)
        world.settle()
    status = world.status()
    assert status["phase"] == "Ready"
    assert status["display"]["weights"] == "myapp-v1:http=60 myapp-v2:http=40"
    assert status["revision"] < REAL
    assert status["observedGeneration"] < REAL
    json.dumps(status, allow_nan=False)


@pytest.mark.parametrize("path", IN_THE_STATUS, ids=str)
@pytest.mark.parametrize("number", NUMBERS)
def test_an_implausible_number_in_the_status(rolling: World, path: Path, number: float) -> None:
    kanary = rolling.objects["Kanary", "rule"]
    rolling.objects["Kanary", "rule"] = {**kanary, "status": put(kanary["status"], path, number)}
    lives_on(rolling)


@pytest.mark.parametrize("path", IN_THE_CONFIG_MAP, ids=str)
@pytest.mark.parametrize("number", NUMBERS)
def test_an_implausible_number_in_the_config_map(rolling: World, path: Path, number: float) -> None:
    config_map = copy.deepcopy(rolling.objects["ConfigMap", "rule-haproxy"])
    config_map["data"][APPLIED_KEY] = json.dumps(put(json.loads(config_map["data"][APPLIED_KEY]), path, number))
    rolling.objects["ConfigMap", "rule-haproxy"] = config_map
    lives_on(rolling)


@pytest.mark.parametrize("digits", ["9999", str(2**31 - 1), "9" * 19, "9" * 5000])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_generation_that_the_kanary_has_not_reached_stops_nothing(
    rolling: World, digits: str, *, is_restarted: bool
) -> None:
    """Before, each reconcile took the Kanary for an old copy, for ever, and no status said so."""
    for key in (("ConfigMap", "rule-haproxy"), ("Deployment", "rule-haproxy")):
        rolling.objects[key] = found = copy.deepcopy(rolling.objects[key])
        if key[0] == "Deployment":
            found["metadata"]["annotations"][GENERATION_ANNOTATION] = digits
        elif len(digits) < REAL:
            found["data"][APPLIED_KEY] = json.dumps(
                put(json.loads(found["data"][APPLIED_KEY]), ("generation",), int(digits))
            )
    if is_restarted:
        rolling.restart_operator()
    lives_on(rolling)
    applied = applied_in(rolling.objects["ConfigMap", "rule-haproxy"])
    assert applied
    assert applied.generation < REAL
    assert 0 < generation_of(rolling.objects["Deployment", "rule-haproxy"]) < REAL


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-23", "", None, 5])
def test_a_time_that_has_no_other_time_zone_is_none(text: Any) -> None:
    assert read_time(text) is None


def test_an_implausible_entry_is_left_out_and_the_others_stay(rolling: World) -> None:
    kanary = copy.deepcopy(rolling.objects["Kanary", "rule"])
    entries = kanary["status"]["history"]["entries"]
    entries[1]["number"] = 10**30
    found = read_status(kanary).history
    assert found
    assert [entry.number for entry in found.entries] == [each["number"] for each in entries if each["number"] < REAL]
