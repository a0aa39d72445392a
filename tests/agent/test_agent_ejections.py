"""Which servers are outliers, by example: counters as HAProxy shows them, and the result."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from kanary_agent import counters
from kanary_agent.counters import Server
from kanary_agent.ejections import LONGEST_SECONDS, SHORTEST_SECONDS, Ejections
from kanary_agent.outliers import BURST_SECONDS, FORGET_SECONDS, HALF_LIFE_SECONDS, Route


class Counting:
    """A route whose servers have the given counters."""

    def __init__(self, *names: str) -> None:
        self.route = Route()
        self.now = 1000.0
        self._servers = {name: Server(name, name, is_up=True, succeeded=0, reset=0, sent=0) for name in names}
        self.observe()

    def observe(self, after: float = 0.1, **ended: tuple[int, int, int]) -> None:
        """Observe the route after so many more successful connections, resets and received bytes."""
        for name, (succeeded, reset, sent) in ended.items():
            server = self._servers[name]
            self._servers[name] = server._replace(
                succeeded=server.succeeded + succeeded, reset=server.reset + reset, sent=server.sent + sent
            )
        self.now += after
        self.route.observe(self._servers.values(), (), self.now)

    def down(self, *names: str) -> None:
        self._servers |= {name: self._servers[name]._replace(is_up=False) for name in names}
        self.observe()

    def outliers(self, *on_probation: str) -> list[str]:
        return self.route.outliers((), on_probation)


def test_few_failures_are_enough_beside_others_that_serve_many() -> None:
    servers = Counting("a", "b", "c")
    servers.observe(a=(0, 4, 0), b=(100, 0, 100), c=(100, 0, 100))
    assert servers.outliers() == []
    servers.observe(a=(0, 1, 0))
    assert servers.outliers() == ["a"]


def test_one_failure_is_enough_on_probation() -> None:
    servers = Counting("a", "b")
    servers.observe(a=(0, 1, 0), b=(10, 0, 10))
    assert servers.outliers() == []
    assert servers.outliers("a") == ["a"]


def test_many_are_needed_where_the_others_have_nothing_to_do() -> None:
    """All connections may lead to the one that resets them: it holds the fewest."""
    for served in range(4):
        servers = Counting("a", "b")
        servers.observe(a=(0, 10, 0), b=(served, 0, served))
        assert servers.outliers() == []
        servers.observe(after=BURST_SECONDS, a=(0, 10, 0))
        assert servers.outliers() == ["a"]


@pytest.mark.parametrize("served", [0, 1])
@pytest.mark.parametrize("reset", [0, 4])
def test_a_burst_of_resets_proves_nothing_while_connections_of_others_are_open(served: int, reset: int) -> None:
    """Where all connections are reset, and those of one server are still open."""
    servers = Counting("a", "b", "c")
    servers.observe(a=(0, 1000, 0), b=(0, 1000, 0), c=(served, reset, 0))
    assert servers.outliers() == []
    servers.observe(c=(0, 1000, 0))
    assert servers.outliers() == []


def test_a_single_success_where_all_connections_are_reset_for_long_proves_nothing() -> None:
    servers = Counting("a", "b", "c")
    for _ in range(20 * HALF_LIFE_SECONDS):
        servers.observe(after=1, a=(0, 50, 0), b=(0, 50, 0), c=(0, 50, 0))
    servers.observe(c=(1, 0, 0))
    assert servers.outliers() == []


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("count", [2, 3])
def test_a_new_service_that_resets_some_of_its_connections_has_no_outliers(rate: float, count: int) -> None:
    """Looked at after each connection. Chance may make one in a million looks an outlier."""
    dice, found = random.Random(7), 0
    names = [f"s{number}" for number in range(count)]
    for _ in range(1000):
        servers = Counting(*names)
        for _ in range(30):
            failed = dice.random() < rate
            servers.observe(**{dice.choice(names): (0, 1, 0) if failed else (1, 0, 1)})
            found += bool(servers.outliers())
    assert found == 0


@pytest.mark.parametrize("rate", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [2, 5])
def test_a_service_with_few_connections_that_resets_most_of_them_has_no_outliers(rate: float, count: int) -> None:
    """A series of resets takes minutes, and a connection of another server may just have succeeded."""
    dice, found = random.Random(7), 0
    names = [f"s{number}" for number in range(count)]
    servers = Counting(*names)
    for number in range(5000):
        failed = dice.random() < rate
        servers.observe(after=20 / count, **{names[number % count]: (0, 1, 0) if failed else (1, 0, 1)})
        found += bool(servers.outliers())
    assert found == 0


@pytest.mark.parametrize(("rate", "most"), [(0.0, 15), (0.1, 30), (0.3, 60)])
def test_a_server_of_a_service_with_few_connections_is_an_outlier_as_well(rate: float, most: int) -> None:
    dice, servers, resets = random.Random(7), Counting("a", "b"), 0
    while not servers.outliers():
        resets += 1
        failed = dice.random() < rate
        servers.observe(after=20, a=(0, 1, 0), b=(0, 1, 0) if failed else (1, 0, 1))
        assert resets <= most
    assert servers.outliers() == ["a"]


def test_as_many_more_are_needed_as_others_fail() -> None:
    servers = Counting("a", "b", "c")
    servers.observe(a=(0, 10, 0), b=(50, 50, 50), c=(50, 50, 50))
    assert servers.outliers() == []
    servers.observe(a=(0, 20, 0))
    assert servers.outliers() == ["a"]


def test_one_connection_that_ends_well_or_has_brought_bytes_ends_the_row() -> None:
    servers = Counting("a", "b")
    for end in ((1, 0, 0), (0, 1, 1)):
        servers.observe(a=(0, 20, 0), b=(20, 0, 20))
        assert servers.outliers() == ["a"]
        servers.observe(a=end)
        assert servers.outliers() == []


def test_a_service_that_resets_when_it_has_answered_has_outliers_too() -> None:
    servers = Counting("a", "b")
    servers.observe(a=(0, 20, 0), b=(0, 20, 100))
    assert servers.outliers() == ["a"]


def test_servers_that_all_fail_are_no_outliers() -> None:
    servers = Counting("a", "b", "c")
    servers.observe(a=(0, 20, 0), b=(0, 20, 0), c=(0, 20, 0))
    assert servers.outliers() == []
    servers.observe(c=(100, 0, 100))
    assert set(servers.outliers()) == {"a", "b"}


def test_a_connection_that_is_counted_as_reset_before_it_has_ended_does_not_end_well() -> None:
    servers = Counting("a", "b")
    servers.observe(a=(-1, 20, 0), b=(20, 0, 20))
    servers.observe(a=(1, 0, 0))
    assert servers.outliers() == ["a"]


def test_changes_between_distant_observations_do_not_count() -> None:
    servers = Counting("a", "b")
    servers.observe(after=FORGET_SECONDS + 1, a=(0, 20, 0), b=(20, 0, 20))
    assert servers.outliers() == []


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)])
def test_at_most_half_of_a_route_is_ejectable(count: int, most: int) -> None:
    names = [f"s{number}" for number in range(count)]
    assert Counting(*names).route.ejectable(names) == names[:most]


def test_the_last_server_that_is_up_is_not_ejectable() -> None:
    servers = Counting("a", "b", "c", "d")
    servers.down("d")
    assert servers.route.ejectable(["a", "b"]) == ["a", "b"]
    servers.down("c")
    assert servers.route.ejectable(["a", "b"]) == ["a"]
    servers.down("b")
    assert servers.route.ejectable(["a"]) == []


def test_ejection_times_double_and_start_anew_after_a_while() -> None:
    ejections, now = Ejections(), 0.0
    for seconds in (SHORTEST_SECONDS, 10, 20, 40, LONGEST_SECONDS, LONGEST_SECONDS):
        assert ejections.eject("a", now) == seconds
        assert ejections.expire(now + seconds - 0.1) == []
        now += seconds
        assert ejections.expire(now) == ["a"]
        assert ejections.expire(now) == []
        assert (ejections.active, list(ejections.returned)) == ([], ["a"])
    ejections.expire(now + LONGEST_SECONDS + 1)
    assert len(ejections) == 0
    assert ejections.eject("a", now) == SHORTEST_SECONDS


HEAD = "# pxname,svname,stot,scur,econ,eresp,wretr,wredis,status,last_chk,addr,bout,\n"


def rows() -> Iterator[str]:
    yield HEAD
    yield 'r0,p1,30,3,1,4,2,5,UP 1/2,"no, not ""yet""",10.0.0.1:9000,77,\n'
    yield "r0,p2,2,0,0,0,0,0,DOWN,,[fd00::1]:9000,0,\n"
    yield "r0,p3,2,0,0,0,0,0,UP,,10.0.0.3:9"


def test_counters_are_read_up_to_a_row_that_is_cut_short() -> None:
    assert list(counters.servers(rows())) == [
        Server("p1", "10.0.0.1:9000", is_up=True, succeeded=15, reset=4, sent=77),
        Server("p2", "[fd00::1]:9000", is_up=False, succeeded=2, reset=0, sent=0),
    ]
