"""Servers whose source ports have run out: the commands that the agent sends to HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kanary_agent import counters, ports
from kanary_agent.ports import Ports
from kanary_agent.routes import Listed, Servers

PLACE = "b/::1:80_v2"
SHORT = Listed("[::1]:80", "DOWN", 1, "L4CON", "Layer4 connection problem: Out of local source ports on the system")
REFUSED = Listed("[::1]:80", "DOWN", 1, "L4CON", "Layer4 connection problem: Connection refused")
RESTRICTED = [f"set maxconn server {PLACE} 1", f"disable health {PLACE}", f"set server {PLACE} health up"]


class Master:
    """The state of the server in HAProxy, and the commands."""

    def __init__(self) -> None:
        self.status = "UP"
        self.commands: list[str] = []

    def stream(self, command: str) -> Iterator[str]:
        if command == counters.STATES:
            yield "# be_id be_name srv_name srv_addr srv_port srv_admin_state\n"
            yield "1 b ::1:80_v2 ::1 80 0\n"
            return
        assert command.startswith("@1 show stat ")
        yield from ("# pxname,svname,status\n", f"b,::1:80_v2,{self.status}\n")

    def execute(self, *commands: str) -> str:
        self.commands += [command.removeprefix("@1 ") for command in commands]
        return ""

    def taken(self) -> list[str]:
        found, self.commands = self.commands, []
        return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(ports, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(ports, "allowed_connections", lambda: 100)
    return now


def observing(master: Any, *listed: Listed) -> tuple[Ports, Any]:
    routes: Any = SimpleNamespace(servers={"app:http": Servers(down=1, listed=listed)})
    slots: Any = SimpleNamespace(present={"b": "app:http"})
    return Ports(master, slots, routes), routes


def test_a_server_without_ports_returns_with_one_connection_which_doubles_after_ten_seconds(clock: list[float]) -> None:
    master = Master()
    found, routes = observing(master, SHORT)
    found.step(0)
    assert master.taken() == RESTRICTED
    assert found.short == ("::1:80",)
    routes.servers = {"app:http": Servers(up=1)}
    clock[0] += 9
    found.step(0)
    assert not master.taken()
    clock[0] += 1
    found.step(0)
    assert master.taken() == [f"enable health {PLACE}", f"set maxconn server {PLACE} 2"]
    limits = []
    while found.short:
        clock[0] += 1
        found.step(0)
        limits += [int(command.split()[-1]) for command in master.taken()]
    assert limits == [4, 8, 16, 32, 64, 100]


def test_ports_that_run_out_again_begin_the_time_again(clock: list[float]) -> None:
    master = Master()
    found, routes = observing(master, SHORT)
    found.step(0)
    routes.servers = {}
    clock[0] += 12
    found.step(0)
    master.taken()
    routes.servers = {"app:http": Servers(down=1, listed=(SHORT,))}
    found.step(0)
    assert master.taken() == RESTRICTED


def test_a_server_that_refuses_stays_down(clock: list[float]) -> None:
    master = Master()
    found, _ = observing(master, REFUSED)
    found.step(0)
    assert not master.taken()
    assert not found.short


def test_the_next_worker_has_the_limit_as_well(clock: list[float]) -> None:
    master = Master()
    found, routes = observing(master, SHORT)
    found.step(0)
    master.taken()
    routes.servers = {}
    found.step(1)
    assert master.taken() == RESTRICTED


def test_an_agent_that_starts_adopts_what_the_former_one_has_limited(clock: list[float]) -> None:
    master = Master()
    master.status = "no check"
    found, _ = observing(master)
    found.step(0)
    assert found.short == ("::1:80",)
    assert master.taken() == RESTRICTED
