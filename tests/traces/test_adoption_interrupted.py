"""The operator's process may end after any write of an adoption, and of its end."""

import copy
from contextlib import suppress
from typing import Any

import pytest

from engine.ports import RetryLaterError
from engine.render.adoption import FINALIZER, adopter
from tests.traces.world import World, routes

Json = dict[str, Any]

PROXIES = {"kanary.k8s.io/name": "rule"}
WRITES = 12
"""At least as many as an adoption takes."""


def declare(world: World, *, adopts: bool) -> None:
    split = routes(myapp_v1=100)
    world.apply_kanary(destination="myapp", routes=split, updateStrategy="Live", adoptDestination=adopts)


def settle_killed(world: World, writes: int) -> None:
    """The process ends after so many writes, and another one continues."""
    world.die_after = writes
    with suppress(RetryLaterError):
        world.settle()
    check(world)
    world.die_after = None
    world.restart_operator()
    world.settle()
    check(world)


def check(world: World) -> None:
    """Whoever deletes the Kanary now finds the finalizer, if the Service leads to the proxies."""
    service, kanary = world.objects["Service", "myapp"], world.objects["Kanary", "rule"]
    is_turned = service["spec"]["selector"] == PROXIES
    assert is_turned == bool(adopter(service))
    if is_turned:
        assert FINALIZER in kanary["metadata"]["finalizers"]
        assert service["spec"]["ports"][0]["targetPort"] == "split"


@pytest.mark.parametrize("writes", range(WRITES))
def test_an_adoption_that_is_interrupted_continues(there: World, writes: int) -> None:
    declare(there, adopts=True)
    settle_killed(there, writes)
    assert there.status()["phase"] == "Ready"
    assert there.objects["Service", "myapp"]["spec"]["selector"] == PROXIES


@pytest.mark.parametrize("writes", range(WRITES))
def test_the_end_of_one_that_is_interrupted_continues(there: World, writes: int) -> None:
    before = copy.deepcopy(there.objects["Service", "myapp"]["spec"])
    declare(there, adopts=True)
    there.settle()
    declare(there, adopts=False)
    settle_killed(there, writes)
    there.settle()
    assert there.objects["Service", "myapp"]["spec"] == before
    assert not there.objects["Kanary", "rule"]["metadata"]["finalizers"]


@pytest.mark.parametrize("writes", range(3))
def test_a_deletion_that_is_interrupted_continues(there: World, writes: int) -> None:
    before = copy.deepcopy(there.objects["Service", "myapp"]["spec"])
    declare(there, adopts=True)
    there.settle()
    kanary = copy.deepcopy(there.objects["Kanary", "rule"])
    kanary["metadata"]["deletionTimestamp"] = there.time.isoformat()
    there.objects["Kanary", "rule"] = kanary
    there.die_after = writes
    with suppress(RetryLaterError):
        there.reconciler.reconcile("default", "rule")
    check(there)
    there.die_after = None
    there.restart_operator()
    there.reconciler.reconcile("default", "rule")
    assert there.objects["Service", "myapp"]["spec"] == before
    assert not there.objects["Kanary", "rule"]["metadata"]["finalizers"]


class Hasty(World):
    """Others apply their manifest to a Service of Kanary after so many reads of it."""

    reads: int | None = None

    def service(self, namespace: str, name: str) -> Json | None:
        found = super().service(namespace, name)
        if name == "myapp" and self.reads is not None:
            self.reads -= 1
            if self.reads < 0:
                self.reads = None
                merged = copy.deepcopy(self.objects["Service", "myapp"])
                merged["spec"]["selector"] |= {"app": "myapp"}
                merged["spec"]["ports"][0].pop("targetPort")
                self.objects["Service", "myapp"] = merged
        return found


@pytest.mark.parametrize("reads", range(6))
def test_what_others_apply_during_a_reconcile_is_adopted(reads: int) -> None:
    world = Hasty()
    world.create_service("myapp-v1", 1)
    declare(world, adopts=True)
    world.settle()
    assert not world.objects["Kanary", "rule"]["metadata"].get("finalizers"), "the Service is Kanary's own"
    world.reads = reads
    for _ in range(5):
        with suppress(RetryLaterError):
            world.settle()
    assert world.reads is None
    service = world.objects["Service", "myapp"]
    assert adopter(service) and not service["metadata"].get("ownerReferences")
    check(world)
