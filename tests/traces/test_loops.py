"""Kanaries that lead to each other: whatever the order of events, no connection returns to a Kanary it has passed."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engine.model.states import read_written
from states.timing import HELD_PODS_RECHECK
from tests.traces.world import NAMESPACE, Json, World, routes

Graph = Mapping[int, frozenset[int]]
MOST = 4
"""Kanaries in a random graph."""


class Network(World):
    """Kanaries k0, k1, ..., each with a pod of its own and a Service `out-N` that selects proxies of some of them.

    Reconciles of several Kanaries may be simultaneous: each then has the others' ConfigMaps as they were before.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.edges: dict[int, set[int]] = {number: set() for number in range(count)}
        self._before: Mapping[str, Json] | None = None
        self._acting = ""
        for number in range(count):
            self.create_service(f"own-{number}", 1)
            self.create_service(f"out-{number}", 0)

    def create(self, number: int, **spec: object) -> None:
        self.wait(10)
        body = {
            "destination": f"d{number}",
            "updateStrategy": "Live",
            "proxy": {"replicas": 1},
            "routes": routes(**{f"own_{number}": 50, f"out_{number}": 50}),
        }
        self.apply_kanary(f"k{number}", **(body | spec))

    def start(self) -> None:
        """Have all of them serve what they have, after the wait for first endpoints."""
        self.reconcile(range(self.count))
        self.wait(31)
        self.reconcile(range(self.count))

    def lead(self, source: int, *targets: int) -> None:
        self.edges[source] = {*targets}
        self.select()

    def select(self) -> None:
        """The controller of EndpointSlices: the proxies that there are now."""
        for source, targets in self.edges.items():
            found = [(target, pod["metadata"]["name"]) for target in targets for pod in self.proxies(target)]
            self.objects["EndpointSlice", f"out-{source}"]["endpoints"] = [
                {"addresses": [f"10.9.0.{target + 1}"], "targetRef": {"kind": "Pod", "name": name}}
                for target, name in sorted(found)
            ]

    def proxies(self, number: int) -> Sequence[Json]:
        return self.proxy_pods(NAMESPACE, f"k{number}")

    def reconcile(self, numbers: Iterable[int], *, are_simultaneous: bool = False) -> None:
        if are_simultaneous:
            self._before = {n: copy.deepcopy(o) for (kind, n), o in self.objects.items() if kind == "ConfigMap"}
        for number in numbers:
            self._acting = f"k{number}-haproxy"
            self.settle(f"k{number}")
            self.select()
        self._before = None

    def live(self, desired: Json) -> Json | None:
        name = desired["metadata"]["name"]
        if desired["kind"] == "ConfigMap" and self._before is not None and name != self._acting:
            return self._before.get(name)
        return super().live(desired)

    def sent(self) -> Graph:
        """To whose proxies connections go."""
        return {number: frozenset(self._sent(number)) for number in range(self.count)}

    def _sent(self, number: int) -> Iterable[int]:
        applied = read_written(self.objects.get(("ConfigMap", f"k{number}-haproxy"))).applied
        for endpoint in applied.endpoints.get(f"out-{number}:http", ()) if applied else ():
            yield int(endpoint.address.rpartition(".")[2]) - 1

    def come_to_rest(self, rounds: int, *, are_simultaneous: bool = False) -> None:
        """Reconcile all of them as often as it takes, each time after the wait for first endpoints."""
        for _ in range(rounds):
            self.wait(31)
            self.reconcile(range(self.count), are_simultaneous=are_simultaneous)
        before = self.sent()
        self.reconcile(range(self.count), are_simultaneous=are_simultaneous)
        assert self.sent() == before, "it has come to rest"

    def check(self) -> None:
        """No cycle, no edge left out in vain, and each status says why."""
        sent = self.sent()
        for source, targets in self.edges.items():
            assert source not in reached(sent, sent[source])
            message = self.status(f"k{source}")["message"]
            for target in targets - sent[source]:
                if target == source:
                    assert "1 proxy of this Kanary as endpoints, left out to avoid a loop" in message
                else:
                    assert source in reached(sent, {target}), "it would close a loop"
                    assert f"1 proxy of Kanary k{target} as endpoints, left out because it sends connections back" in (
                        message
                    )
            declared = {number: frozenset(found) for number, found in self.edges.items()}
            if source not in reached(declared, declared[source]):
                assert sent[source] == targets, "a Kanary in no cycle keeps all of its endpoints"
                assert self.phase(f"k{source}") == ("Ready" if targets else "Degraded"), message


def reached(graph: Graph, first: Iterable[int]) -> set[int]:
    """What can be reached from these, themselves included."""
    found = [*first]
    for each in found:
        found += [following for following in graph[each] if following not in found]
    return {*found}


# Shrinking takes minutes, and the drawn values are few.
@settings(max_examples=30, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(st.data())
def test_in_any_graph_and_order_no_cycle_has_traffic_and_the_others_are_untouched(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, MOST))
    world = Network(count)
    node = st.integers(0, count - 1)
    for number in data.draw(st.permutations(range(count))):
        world.lead(number, *data.draw(st.frozensets(node, max_size=3)))
        world.create(number)
        if data.draw(st.booleans()):
            world.reconcile([number])
    are_simultaneous = data.draw(st.booleans())
    for _ in range(data.draw(st.integers(0, 3))):
        created = [number for number in range(count) if ("Kanary", f"k{number}") in world.objects]
        world.reconcile(
            data.draw(st.lists(st.sampled_from(created), unique=True)), are_simultaneous=data.draw(st.booleans())
        )
        world.lead(data.draw(node), *data.draw(st.frozensets(node, max_size=3)))
        if data.draw(st.booleans()):
            world.restart_operator()
    world.come_to_rest(2 * count, are_simultaneous=are_simultaneous)
    world.check()


def ring(count: int, **spec: object) -> Network:
    """Kanaries in a circle that all begin to send connections to the next one at the same moment."""
    world = Network(count)
    for number in range(count):
        world.create(number, **spec)
    world.start()
    for number in range(count):
        world.lead(number, (number + 1) % count)
    world.reconcile(range(count), are_simultaneous=True)
    assert all(world.sent().values()), "the circle is closed"
    return world


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("are_simultaneous", [True, False], ids=["at once", "in turn"])
def test_of_kanaries_that_close_a_loop_at_once_the_youngest_yields(count: int, are_simultaneous: bool) -> None:
    world = ring(count)
    for _ in range(3):
        world.reconcile(range(count), are_simultaneous=are_simultaneous)
        assert [number for number, targets in world.sent().items() if not targets] == [count - 1]
    world.check()
    world.lead(0)
    world.come_to_rest(3, are_simultaneous=are_simultaneous)
    assert world.sent()[count - 1] == {0}, "nothing leads back any more"


def test_a_kanary_that_holds_an_empty_route_does_not_hold_a_loop() -> None:
    world = ring(2, onEmptyRoute="Hold")
    world.reconcile([1])
    assert world.sent() == {0: {1}, 1: frozenset()}
    assert world.phase("k1") == "Degraded"
    world.check()


def test_the_last_endpoints_of_a_deleted_service_are_no_loop() -> None:
    world = ring(2)
    del world.objects["Service", "out-1"]
    world.reconcile([1])
    assert world.sent()[1] == frozenset()


def test_the_proxies_of_a_kanary_that_was_deleted_alone_still_lead_back() -> None:
    """As with `kubectl delete --cascade=orphan`."""
    world = ring(2)
    world.remove("Kanary", "k0")
    world.reconcile([1])
    assert world.sent()[1] == frozenset()
    assert (
        "1 proxy of Kanary k0 as endpoints, left out because it sends connections back"
        in (world.status("k1")["message"])
    )


def to_destination(number: int, other: int) -> list[Json]:
    """Routes to a pod of its own and to the destination of another Kanary."""
    own, destination = routes(**{f"own_{number}": 50, f"d{other}": 50})
    return [own, {**destination, "backend": {"serviceName": f"d{other}", "servicePort": "tcp"}}]


def test_a_kanary_that_takes_the_name_of_a_missing_backend_closes_no_loop() -> None:
    """Its own destination is the Service that another Kanary has lost."""
    world = Network(2)
    world.create_service("d1", 1, port={"name": "tcp", "port": 80})
    world.create(0, routes=to_destination(0, 1))
    world.reconcile([0])
    assert world.phase("k0") == "Ready"
    world.remove("Service", "d1")
    world.reconcile([0])
    assert world.phase("k0") == "Degraded"
    world.create(1, routes=to_destination(1, 0))
    for _ in range(4):
        world.reconcile([1, 0])
        world.wait(31)
    applied = [read_written(world.objects["ConfigMap", f"k{number}-haproxy"]).applied for number in (0, 1)]
    proxies = {pod["metadata"]["name"] for number in (0, 1) for pod in world.proxies(number)}
    leads = [
        any(e.pod in proxies for e in one.endpoints[f"d{1 - number}:tcp"]) for number, one in enumerate(applied) if one
    ]
    assert leads == [False, True], "the one that would close the loop yields"
    assert (
        "1 proxy of Kanary k1 as endpoints, left out because it sends connections back"
        in (world.status("k0")["message"])
    )


def test_two_kanaries_that_wait_for_each_others_destinations_say_so() -> None:
    world = Network(2)
    for number in (0, 1):
        world.create(number, routes=to_destination(number, 1 - number))
    world.start()
    for number in (0, 1):
        assert (world.phase(f"k{number}"), world.status(f"k{number}")["reason"]) == ("Pending", "BackendNotFound")
        assert f'Service "d{1 - number}" does not exist' in world.status(f"k{number}")["message"]


def test_a_kanary_whose_connections_pass_another_one_looks_for_loops_again() -> None:
    """No event announces that another Kanary has begun to lead back."""
    world = Network(2)
    for number in (0, 1):
        world.create(number)
    world.start()
    before = world.settle("k0").requeue
    world.lead(0, 1)
    world.reconcile([0])
    after = world.settle("k0").requeue
    assert after
    assert after.after <= HELD_PODS_RECHECK < (before.after if before else timedelta(days=1))
