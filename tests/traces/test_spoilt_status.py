"""A deleted or damaged status costs no entry and no reconcile."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from engine.model.entries import ChangeResult, Configuration, Entry, WeightChange
from tests.traces.world import World, routes

Json = dict[str, Any]


class Recording(World):
    """Keeps entries as the database does: the first of each number stays."""

    def __init__(self) -> None:
        super().__init__()
        self.former: Json = {}
        """The status before the last change."""

    def record(self, kanary: Json, entries: Any, configuration: Configuration | None) -> None:
        for entry in entries:
            assert self.entries.setdefault(entry.number, entry) == entry, "a number is used twice"


@pytest.fixture
def serving() -> Recording:
    world = Recording()
    world.create_service("v1", 1)
    world.create_service("v2", 1)
    declare(world, 80, 20)
    return world


def declare(world: World, v1: int, v2: int) -> None:
    world.apply_kanary(destination="app", routes=routes(v1=v1, v2=v2))
    world.settle()


def revisions(world: World) -> set[int]:
    return {entry.revision for entry in world.entries.values() if isinstance(entry, WeightChange)}


def test_a_status_that_is_lost_twice_leaves_no_number_to_be_used_twice(serving: Recording) -> None:
    for _ in range(2):
        del serving.objects["Kanary", "rule"]["status"]
        serving.wait(60)
        serving.settle()
        # Degraded and back: entries without a new configuration.
        declare(serving, 80, 30)
        declare(serving, 80, 20)
    declare(serving, 50, 50)
    assert serving.status()["revision"] in revisions(serving)


def test_an_entry_with_a_number_beyond_the_last_is_not_written_over(serving: Recording) -> None:
    history = serving.objects["Kanary", "rule"]["status"]["history"]
    history["entries"].append(note(history["last"] + 1))
    serving.wait(60)
    serving.settle()
    declare(serving, 50, 50)
    assert serving.status()["revision"] in revisions(serving)


def note(number: int, **fields: Any) -> Json:
    return {"number": number, "at": "2026-11-23T12:10:00.000Z", "kind": "Note", **fields}


def deep() -> Json:
    nested: Json = {}
    for _ in range(300):
        nested = {"a": nested}
    return nested


def no_time(status: Json) -> None:
    status["since"] = "0001-01-01T00:00:00+14:00"


def too_deep(status: Json) -> None:
    status["history"]["entries"].append(note(status["history"]["last"] + 1, x=deep()))


def endless(status: Json) -> None:
    status["history"]["entries"].append(note(status["history"]["last"] + 1, kind="ChangeResult", seconds="inf"))


@pytest.mark.parametrize("spoil", [no_time, too_deep, endless])
def test_endpoints_are_followed_whatever_is_in_the_status(serving: Recording, spoil: Callable[[Json], None]) -> None:
    before = len(serving.entries)
    spoil(serving.objects["Kanary", "rule"]["status"])
    serving.scale("v1", 3)
    serving.settle()
    assert serving.config().count("  server ") == 4
    assert len(serving.entries) >= before


def test_what_a_newer_version_wrote_of_a_known_kind_is_kept_and_passed_on(serving: Recording) -> None:
    history = serving.objects["Kanary", "rule"]["status"]["history"]
    number = history["last"] + 1
    history["entries"].append(note(number, kind="ChangeResult", verdict="RolledBack"))
    history["last"] = number
    declare(serving, 50, 50)
    kept = [entry for entry in serving.status()["history"]["entries"] if entry["number"] == number]
    assert kept == [{**note(number), "kind": "ChangeResult", "verdict": "RolledBack"}]
    assert isinstance(serving.entries[number], Entry)


def results(world: World, revision: int) -> list[str]:
    """How the change ended, as the history has it: the first result counts."""
    found = [e for e in world.entries.values() if isinstance(e, ChangeResult) and e.revision == revision]
    return [entry.result for entry in sorted(found, key=lambda entry: entry.number)]


def remove_status(world: World) -> None:
    del world.objects["Kanary", "rule"]["status"]


def restore_status(world: Recording) -> None:
    world.objects["Kanary", "rule"]["status"] = copy.deepcopy(world.former)


@pytest.mark.parametrize("lose", [remove_status, restore_status])
def test_a_change_ends_as_ready_though_its_status_is_lost_in_the_middle(
    serving: Recording, lose: Callable[[Recording], None]
) -> None:
    begin_change(serving, 50, 50)
    lose(serving)
    serving.slow_proxies = False
    serving.settle()
    assert serving.status()["phase"] == "Ready"
    assert results(serving, 2) == ["Ready"]
    assert serving.status()["split"]["result"] == "Ready"


@pytest.mark.parametrize("lose", [remove_status, restore_status])
def test_a_change_ends_as_superseded_though_its_status_is_lost_and_the_next_one_is_there(
    serving: Recording, lose: Callable[[Recording], None]
) -> None:
    begin_change(serving, 50, 50)
    lose(serving)
    serving.slow_proxies = False
    declare(serving, 40, 60)
    assert results(serving, 2) == ["Superseded"]
    assert results(serving, 3) == ["Ready"]


def test_a_status_that_is_lost_leaves_a_change_that_had_ended_as_it_was(serving: Recording) -> None:
    remove_status(serving)
    serving.wait(3600)
    declare(serving, 50, 50)
    assert results(serving, 1)[0] == "Ready"
    assert results(serving, 2) == ["Ready"]


def test_proxies_are_current_when_the_status_is_lost_and_the_change_has_not_ended(serving: Recording) -> None:
    begin_change(serving, 50, 50)
    serving.slow_proxies = False
    serving.roll_proxies()
    remove_status(serving)
    serving.settle()
    assert results(serving, 2) == ["Ready"]


def begin_change(world: Recording, v1: int, v2: int) -> None:
    """Weights that are written for the proxies and that none of them serves yet."""
    world.former = world.status()
    world.slow_proxies = True
    declare(world, v1, v2)
    world.wait(60)
    assert world.status()["phase"] == "Rolling"


def test_a_rollout_in_a_state_that_does_not_exist_is_that_of_the_config_map(serving: Recording) -> None:
    plan = {"rollout": {"steps": [{"to": 10, "until": "Promoted"}, {"to": 100}]}, "updateStrategy": "Live"}
    for v1 in (80, 20):
        serving.apply_kanary(destination="app", routes=routes(v1=v1, v2=100 - v1), **plan)
        serving.settle()
    before = serving.status()["rollout"]
    before["state"] = "Nonsense"
    serving.settle()
    assert (serving.status()["rollout"]["step"], serving.status()["rollout"]["state"]) == (1, "Waiting")
