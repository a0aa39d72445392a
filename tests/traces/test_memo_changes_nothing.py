"""What the engine keeps between reconciles makes them cheaper and changes nothing else."""

import copy
import gc
import json
from collections.abc import Callable
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.memo import Memos
from engine.reconcile import Step
from kanary.kube.cache import Unpacked
from tests.traces.world import Json, World, routes

Event = Callable[[World], None]
SERVICES = "v1", "v2"


class Uncached(World):
    """Gives the engine another object at each look, and has it derive everything again at each reconcile."""

    def step(self, name: str = "rule") -> Step:
        self.reconciler._memos = Memos()
        return super().step(name)

    def _copy(self, key: tuple[str, str]) -> Json:
        return copy.deepcopy(self.objects[key])


class Cached(World):
    """Gives the engine copies of its objects, as the cache of the watches does."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[str, int] = {}
        self._next_id = count(1)

    def _copy(self, key: tuple[str, str]) -> Json:
        obj = copy.deepcopy(self.objects[key])
        content = json.dumps(obj, default=str)
        return Unpacked(obj, self._ids.setdefault(content, next(self._next_id)))


def apply(weight: int, strategy: str, on_empty: str, paused: bool) -> Event:
    split = routes(v1=weight, v2=100 - weight)
    return lambda world: world.apply_kanary(
        destination="myapp", updateStrategy=strategy, onEmptyRoute=on_empty, paused=paused, routes=split
    )


def scale(name: str, pods: int) -> Event:
    def event(world: World) -> None:
        if ("Service", name) not in world.objects:
            world.create_service(name, pods)
        world.scale(name, pods)

    return event


def unready(name: str, number: int) -> Event:
    """One pod is unready, or ready again."""

    def event(world: World) -> None:
        endpoints = world.objects.get(("EndpointSlice", name), {}).get("endpoints", [])
        for endpoint in endpoints[number : number + 1]:
            is_ready = endpoint.get("conditions", {}).get("ready", True)
            endpoint["conditions"] = {"ready": not is_ready}

    return event


def terminate(name: str, serving: bool) -> Event:
    """The first pod terminates."""

    def event(world: World) -> None:
        endpoints = world.objects.get(("EndpointSlice", name), {}).get("endpoints", [])
        for endpoint in endpoints[:1]:
            endpoint["conditions"] = {"ready": False, "serving": serving, "terminating": True}

    return event


def replace_service(world: World) -> None:
    if ("Service", "v2") in world.objects:
        world.remove("Service", "v2")
        world.put_service("v2")


def replace_proxy(world: World) -> None:
    pods = [name for kind, name in world.objects if kind == "Pod"]
    for pod in pods[:1]:
        world.lose(pod)


def annotate(world: World) -> None:
    """A new version of the Kanary without a change of its spec."""
    metadata = world.objects["Kanary", "rule"]["metadata"]
    metadata["annotations"] = {"kubernetes.io/change-cause": f"cause {len(world.story)}"}


def damage(world: World) -> None:
    for data in (world.objects.get(("ConfigMap", "rule-haproxy"), {}).get("data"),):
        if data:
            data["applied.json"] = data["applied.json"].replace("10.", "x.")


def edit(key: str, old: str, new: str) -> Event:
    """Someone edits the ConfigMap. It may stay a valid one of the same digest."""

    def event(world: World) -> None:
        data = world.objects.get(("ConfigMap", "rule-haproxy"), {}).get("data") or {}
        data[key] = data.get(key, "").replace(old, new)

    return event


def replace_pods(world: World) -> None:
    """Other pods have the addresses of the former ones."""
    for endpoint in world.objects.get(("EndpointSlice", "v1"), {}).get("endpoints", []):
        endpoint["targetRef"] = {"kind": "Pod", "name": f"other-{len(world.story)}"}


def set_rejection(text: str) -> Event:
    return lambda world: setattr(world, "haproxy_rejects", text)


events = st.one_of(
    st.builds(
        apply,
        st.sampled_from([0, 20, 80, 80, 100]),
        st.sampled_from(["Live", "Live", "Rolling"]),
        st.sampled_from(["Redistribute", "Hold", "Fail"]),
        st.booleans(),
    ),
    st.builds(scale, st.sampled_from(SERVICES), st.integers(0, 4)),
    st.builds(unready, st.sampled_from(SERVICES), st.integers(0, 3)),
    st.builds(terminate, st.sampled_from(SERVICES), st.booleans()),
    st.builds(set_rejection, st.sampled_from(["", "[ALERT] unknown keyword"])),
    st.sampled_from(
        [
            replace_proxy,
            replace_service,
            annotate,
            damage,
            edit("haproxy.cfg", "mode tcp", "mode http"),
            edit("applied.json", '"weight":80', '"weight":80.0'),
            edit("applied.json", '9000,"v1', '9000,"xv1'),
            replace_pods,
            lambda world: world.remove("Service", "v1"),
            lambda world: world.remove("Service", "myapp"),
            lambda world: world.remove("ConfigMap", "rule-haproxy"),
            lambda world: world.remove("Deployment", "rule-haproxy"),
            lambda world: world.objects["Kanary", "rule"].pop("status", None),
            lambda world: world.restart_operator(),
        ]
    ),
)


def started(world: World, first: Event) -> World:
    for name in SERVICES:
        world.create_service(name, pods=2)
    first(world)
    return world


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(events, st.sampled_from([0.3, 5, 20])), max_size=12))
def test_any_history_is_decided_written_and_reported_as_without_it(history: list[tuple[Event, float]]) -> None:
    first = apply(80, "Live", "Redistribute", False)
    cached, uncached = started(Cached(), first), started(Uncached(), first)
    for event, seconds in [(lambda _world: None, 5.0), *history]:
        for world in (cached, uncached):
            event(world)
            world.live_through(seconds)
        assert cached.text == uncached.text
        assert cached.objects == uncached.objects
    assert (cached.entries, cached.configurations) == (uncached.entries, uncached.configurations)
    assert cached.events == uncached.events


def test_a_thousand_changes_leave_no_more_objects_than_a_hundred_do() -> None:
    world = started(Cached(), apply(80, "Live", "Redistribute", False))
    world.settle()
    objects = []
    for number in range(1, 1_001):
        world.scale("v1", 2 + number % 2)
        world.step()
        world.wait(0.5)
        for kept in (world.story, world.events, world.entries, world.configurations):
            kept.clear()
        world._ids.clear()
        if number in (100, 1_000):
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert objects[1] - objects[0] < 100
