"""Many pods, many routes, long names and large objects: what happens at the limits, and beyond them."""

import json
import re
import statistics
import time
from unittest.mock import patch

import pytest

from engine.reconcile import Step
from engine.render.objects import MOST_CONFIG_MAP_BYTES
from engine.resolve.endpoints import MOST_ENDPOINTS
from engine.resolve.validation import InvalidSpecError, read_spec
from tests.promises.haproxy_reading import TURNS, meaning_of
from tests.tables import Table, Tell
from tests.traces.rollouts import declare, order, phase, serve, serving_v1, weights
from tests.traces.world import Json, World, routes

LIMITS = Table(
    "Promise 8: limits",
    (
        "what",
        "what happens",
        "time of a change, times that with 10 pods",
        "bytes of the ConfigMap",
        "bytes of the status",
    ),
)
NAME_LIMIT = 55
ETCD_BYTES = 1_500_000
LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
ROUNDS = 3
NETWORKS = {"myapp-v1": 20, "myapp-v2": 30}


def populate(world: World, service: str, pods: int, *, network: int, pod: str = "") -> None:
    """A Service with so many ready pods, at addresses of a network of its own."""
    world.put_service(service)
    endpoints = [
        {
            "addresses": [f"10.{network + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"],
            "targetRef": {"kind": "Pod", "name": f"{pod or service}-{number:05}"},
        }
        for number in range(pods)
    ]
    world._put(
        "EndpointSlice",
        service,
        {"addressType": "IPv4", "ports": [{"name": "http", "port": 9000}], "endpoints": endpoints},
    )


def serving(pods: int) -> World:
    """Two versions with so many pods together."""
    world = World()
    for service, network in NETWORKS.items():
        populate(world, service, pods // 2, network=network)
    declare(world, 80, 20, rollout=None)
    world.settle()
    assert phase(world) == ("Ready", "Serving")
    return world


def seconds_of_a_change(world: World) -> float:
    """Of the reconciles after one pod has gone, without the time of the world around them."""
    reconcile, times = world.reconciler.reconcile, list[float]()

    def timed(namespace: str, name: str) -> Step:
        began = time.process_time()
        try:
            return reconcile(namespace, name)
        finally:
            times[-1] += time.process_time() - began

    with patch.object(world.reconciler, "reconcile", timed):
        for _ in range(ROUNDS):
            slice_ = world.objects["EndpointSlice", "myapp-v2"]
            world.objects["EndpointSlice", "myapp-v2"] = {**slice_, "endpoints": slice_["endpoints"][:-1]}
            times.append(0.0)
            world.settle()
    return statistics.median(times)


def sizes(world: World) -> tuple[int, int]:
    data = world.objects["ConfigMap", "rule-haproxy"]["data"]
    status = world.objects["Kanary", "rule"]["status"]
    return sum(len(key) + len(value) for key, value in data.items()), len(json.dumps(status))


@pytest.mark.parametrize("pods", [1000, 5000])
def test_many_pods_are_served(tell: Tell, pods: int) -> None:
    control = seconds_of_a_change(serving(10))
    world = serving(pods)
    ratio = seconds_of_a_change(world) / control
    assert phase(world) == ("Ready", "Serving")
    read = meaning_of(world.config())
    assert sum(map(len, read.servers.values())) == pods - ROUNDS
    config_map, status = sizes(world)
    assert config_map <= MOST_CONFIG_MAP_BYTES
    # The former configuration gives way first: with 5,000 pods both do not fit.
    assert bool(world.objects["ConfigMap", "rule-haproxy"]["data"]["accepted.cfg"]) or pods == 5000
    # Much of a change does not depend on the pods.
    assert ratio < 0.4 * pods / 10
    tell(
        LIMITS,
        f"{pods} pods",
        f"Ready, {pods - ROUNDS} servers after {ROUNDS} changes",
        f"{ratio:.0f}",
        config_map,
        status,
    )


def test_a_configuration_that_no_config_map_holds_is_reported_and_changes_nothing(tell: Tell) -> None:
    world = serving(1000)
    before = world.config()
    populate(world, "myapp-v1", 6000, network=20, pod="p" * 100)
    world.settle()
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    message = world.status()["message"]
    assert re.search(r"ConfigMap rule-haproxy would have \d{7} bytes because of the number of endpoints", message)
    assert "scale the backends down, or divide them between several Kanaries" in message
    assert world.config() == before
    result = f"Degraded before the API server rejects it: {message[:49]}..., traffic as before"
    tell(LIMITS, "6,500 pods with names of 100 characters", result, "-", *sizes(world))
    populate(world, "myapp-v1", 500, network=20)
    world.live_through(60)
    assert phase(world) == ("Ready", "Serving")


@pytest.mark.parametrize("strategy", ["Live", "Rolling"])
def test_pods_that_end_leave_a_configuration_that_cannot_grow(strategy: str, tell: Tell) -> None:
    """Their addresses may be those of other pods by now; as many others replace them."""
    world, name = World(), "p" * 100
    for service, network in NETWORKS.items():
        populate(world, service, 20, network=network, pod=name)
    declare(world, 80, 20, rollout=None, updateStrategy=strategy)
    world.settle()
    populate(world, "myapp-v1", 7000, network=20, pod=name)
    world.live_through(60)
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    before = meaning_of(world.config()).servers

    slice_ = world.objects["EndpointSlice", "myapp-v1"]
    world.objects["EndpointSlice", "myapp-v1"] = {**slice_, "endpoints": slice_["endpoints"][15:]}
    populate(world, "myapp-v2", 12, network=30, pod=name)
    declare(world, 50, 50, rollout=None, updateStrategy=strategy)
    world.live_through(60)
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    assert (world.status()["revision"], world.status()["display"]["weights"]) == (
        1,
        "myapp-v1:http=80 myapp-v2:http=20",
    )
    read = meaning_of(world.config()).servers
    assert {backend: (len(found), len({*found} & {*before[backend]})) for backend, found in read.items()} == {
        "myapp-v1:http": (20, 5),
        "myapp-v2:http": (12, 12),
    }
    tell(
        LIMITS,
        f"7,000 such pods, {strategy}; 23 of the 40 in the configuration end",
        "Degraded; the 23 have left the configuration, 15 others are in it",
        "-",
        *sizes(world),
    )
    writes, served = world.writes, world.config()
    world.live_through(300)
    assert (world.writes, world.config()) == (writes, served)

    populate(world, "myapp-v1", 100, network=20)
    world.live_through(60)
    assert phase(world) == ("Ready", "Serving")
    assert [len(found) for found in meaning_of(world.config()).servers.values()] == [100, 12]


@pytest.mark.parametrize("names", [{"pod": "p"}, {"pod": ""}], ids=["the shortest names", "names of Deployments"])
def test_no_more_pods_than_the_bound_would_fit(names: dict[str, str]) -> None:
    """So the bound, which saves rendering, refuses nothing that could be served."""
    world = serving(1000)
    populate(world, "myapp-v1", MOST_ENDPOINTS - 500, network=1, **names)
    world.settle()
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    assert "would have" in world.status()["message"]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_configuration_that_is_too_large_is_tried_seldom(is_new: bool) -> None:
    world = World() if is_new else serving(10)
    populate(world, "myapp-v1", 14_000, network=40, pod="p" * 60)
    populate(world, "myapp-v2", 5, network=30)
    declare(world, 60, 40, rollout=None)
    world.settle()
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    writes = world.writes
    world.live_through(60)
    assert world.writes - writes <= 4


@pytest.mark.parametrize("route", [0, 1])
def test_more_pods_than_the_bound_are_refused_before_anything_is_rendered(route: int, tell: Tell) -> None:
    world = serving(1000)
    before, service = world.config(), f"myapp-v{route + 1}"
    populate(world, service, 100_000, network=NETWORKS[service])
    world.settle()
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    others = ", beside 500 of the routes before it" if route else ""
    assert f'backend: Service "{service}" has 100000 ready endpoints{others}' in world.status()["message"]
    assert "at most 15000: scale the backends down, or divide them" in world.status()["message"]
    assert world.config() == before
    ratio = seconds_of_a_change(world) / seconds_of_a_change(serving(10))
    if not route:
        tell(LIMITS, "100,000 pods", "Degraded, not rendered, traffic as before", f"{ratio:.0f}", *sizes(world))
    populate(world, service, 499, network=NETWORKS[service])
    world.settle()
    assert phase(world) == ("Ready", "Serving")
    assert sum(map(len, meaning_of(world.config()).servers.values())) == 999 - (ROUNDS if route == 0 else 0)


def test_pods_that_end_among_too_many_leave_the_configuration() -> None:
    """Their addresses may be those of other pods by now."""
    world = serving(1000)
    populate(world, "myapp-v1", MOST_ENDPOINTS + 1, network=20)
    world.settle()
    slice_ = world.objects["EndpointSlice", "myapp-v1"]
    world.objects["EndpointSlice", "myapp-v1"] = {**slice_, "endpoints": slice_["endpoints"][10:] * 2}
    world.settle()
    assert phase(world) == ("Degraded", "TooManyEndpoints")
    assert len(meaning_of(world.config()).servers["myapp-v1:http"]) == 490


def test_a_hundred_routes_with_the_longest_names(tell: Tell) -> None:
    world = World()
    names = [f"{'v' * 60}{number:03}" for number in range(100)]
    for number, name in enumerate(names):
        populate(world, name, 10, network=20 + number)
    found = [{"backend": {"serviceName": name, "servicePort": "http"}, "weight": 1} for name in names]
    world.apply_kanary(destination="d" * 63, updateStrategy="Live", routes=found)
    world.settle()
    assert phase(world) == ("Ready", "Serving")
    read = meaning_of(world.config())
    assert read.turns == dict.fromkeys((f"{name}:http" for name in names), TURNS // 100)
    for step in range(20):
        found[0]["weight"], found[1]["weight"] = (2, 0) if step % 2 else (0, 2)
        world.apply_kanary(destination="d" * 63, updateStrategy="Live", routes=found)
        world.settle()
        world.wait(1)
    config_map, status = sizes(world)
    assert config_map <= MOST_CONFIG_MAP_BYTES
    assert status < ETCD_BYTES / 10
    tell(LIMITS, "100 routes with names of 63 characters, 21 revisions", "Ready", "-", config_map, status)


def names_and_labels(objects: list[Json]) -> tuple[list[str], list[str]]:
    labels: list[str] = []
    for each in objects:
        labels += (each["metadata"].get("labels") or {}).values()
        template = (each.get("spec") or {}).get("template") or {}
        labels += ((template.get("metadata") or {}).get("labels") or {}).values()
    return [each["metadata"]["name"] for each in objects if each["kind"] != "ConfigMap"], labels


def test_every_name_and_label_that_is_made_of_a_long_name_is_valid(tell: Tell) -> None:
    name = "k" * NAME_LIMIT
    for strategy in ("Live", "Rolling"):
        world = World()
        world.create_service("v" * 63, 2)
        world.apply_kanary(
            name,
            destination="d" * 63,
            updateStrategy=strategy,
            routes=routes(**{"v" * 63: 100}),
        )
        world.settle(name)
        assert world.status(name)["phase"] == "Ready"
        ours = [each for (kind, _), each in world.objects.items() if each["metadata"].get("ownerReferences")]
        names, labels = names_and_labels(ours)
        assert max(map(len, names)) == 63
        assert [each for each in names if not LABEL.fullmatch(each)] == []
        assert [each for each in labels if not LABEL.fullmatch(each)] == []
    tell(
        LIMITS,
        f"a name of {NAME_LIMIT} characters",
        "Ready; the longest name has 63, all labels are valid",
        "-",
        "-",
        "-",
    )
    for length in (NAME_LIMIT + 1, 253):
        spec = {"destination": "myapp", "routes": routes(myapp_v1=100)}
        with pytest.raises(InvalidSpecError, match=r"^metadata.name is .* of at most 55 characters") as caught:
            read_spec({"metadata": {"name": "k" * length}, "spec": spec})
        message = str(caught.value)
        tell(LIMITS, f"a name of {length} characters", f"refused: {message[:40]}...{message[-60:]}", "-", "-", "-")


def test_annotations_of_256_kib_leave_a_small_status(tell: Tell) -> None:
    world = serving_v1(World())
    for revision in range(20):
        world.annotate("kubernetes.io/change-cause", f"{revision} " + "x" * 250_000)
        declare(world, 50 + revision, 50 - revision, rollout=None)
        world.settle()
    declare(world, 0, 100)
    world.settle()
    order(world, "pause", reason="y" * 250_000, by="z" * 1000)
    serve(world, 20)
    assert weights(world)
    config_map, status = sizes(world)
    assert status < 100_000
    tell(LIMITS, "annotations of 256 KiB, 21 revisions", "their texts are cut in the status", "-", config_map, status)


def test_a_status_of_the_most_entries_is_far_below_the_limit_of_etcd(tell: Tell) -> None:
    """The history database has confirmed nothing, and each message is long."""
    world = serving_v1(World())
    world.history = world.history.__class__(0, world.history.recording)
    for number in range(150):
        world.remove("Service", "myapp-v2")
        world.settle()
        world.create_service("myapp-v2", 1)
        declare(world, 50 + number % 40, 50 - number % 40, rollout=None)
        world.settle()
    config_map, status = sizes(world)
    assert status < ETCD_BYTES / 10
    lost = world.status()["history"].get("lost", 0)
    tell(
        LIMITS,
        "150 outages and changes without a database",
        f"{lost} entries dropped, and counted",
        "-",
        config_map,
        status,
    )
