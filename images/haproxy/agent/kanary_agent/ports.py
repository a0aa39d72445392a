"""Keeps a server in service whose source ports have run out.

A connection that its client ends first keeps its source port for another minute (TIME_WAIT). Without a free port to a
server, HAProxy marks it down, because its checks fail as well, although nothing is wrong with it. Other routes would
receive its share, and run out of ports next. The agent returns such a server at once, for some seconds without checks
and with one connection at a time: each attempt without a free port takes HAProxy milliseconds of CPU. All others go to
other servers of the route, or wait. Then the limit doubles every second, until ports run out again or it is not needed.
"""

import time

from kanary_agent import counters
from kanary_agent.counters import Place
from kanary_agent.master import Master, SilentError
from kanary_agent.routes import Routes, Servers
from kanary_agent.slots import Slots

SHORT_SECONDS = 10
"""How long a server has one connection at a time."""
DOUBLING_SECONDS = 1
SHORT_OF_PORTS = "Out of local source ports"
"""HAProxy's words about a check."""
RANGE = "/proc/sys/net/ipv4/ip_local_port_range"


class _Short:
    """A server that has run out of ports: its limit of connections, and when that doubles."""

    __slots__ = ("limit", "next")

    def __init__(self, now: float) -> None:
        self.limit = 1
        self.next = now + SHORT_SECONDS


class Ports:
    """Returns the servers that are down because their source ports have run out."""

    def __init__(self, master: Master, slots: Slots, routes: Routes) -> None:
        self._master = master
        self._slots = slots
        self._routes = routes
        self._short: dict[Place, _Short] | None = None
        """None until the servers that a former agent has limited are read from HAProxy."""
        self._changes = 0

    @property
    def short(self) -> tuple[str, ...]:
        """The addresses of the servers that are limited."""
        # A server that expects a header has its name behind its address.
        return tuple(sorted({place.name.partition("_")[0] for place in self._short or ()}))

    def step(self, changes: int) -> None:
        """Return servers, and raise limits. `changes` is the number of reloads and changes of servers."""
        now = time.monotonic()
        try:
            found = self._found()
            if self._short is None:
                self._short = {}
                found |= set(counters.unchecked(self._master.stream(counters.SERVERS)))
            if changes != self._changes:
                # A new worker has the limits of the configuration.
                found |= self._short.keys()
            self._changes = changes
            self._short |= {place: _Short(now) for place in found}
            commands = [command for place in found for command in _restricted(place)]
            due = [place for place, short in self._short.items() if now >= short.next]
            for place in due:
                commands += self._raised(place, now)
            self._master.execute(*commands)
        except (SilentError, OSError):
            # No worker, no servers.
            return

    def _raised(self, place: Place, now: float) -> list[str]:
        short, allowed = (self._short or {})[place], allowed_connections()
        commands = [f"@1 enable health {place}"] if short.limit == 1 else []
        short.limit, short.next = min(2 * short.limit, allowed), now + DOUBLING_SECONDS
        if short.limit == allowed and self._short:
            del self._short[place]
        return [*commands, f"@1 set maxconn server {place} {short.limit}"]

    def _found(self) -> set[Place]:
        found = {
            (slot, server.address)
            for slot, backend in self._slots.present.items()
            for server in self._routes.servers.get(backend, Servers()).listed
            if server.status == "DOWN" and SHORT_OF_PORTS in server.text
        }
        states = counters.states(self._master.stream(counters.STATES)) if found else ()
        return {
            place for place, state in states if (place.slot, state.address) in found and not state.is_in_maintenance
        }


def allowed_connections() -> int:
    """How many connections a proxy may have to one server, as in its configuration."""
    with open(RANGE) as file:
        first, last = map(int, file.read().split())
    ports = last - first + 1
    return ports - ports // 16


def _restricted(place: Place) -> tuple[str, ...]:
    # `disable health` does not change the state of a server that is down.
    return f"@1 set maxconn server {place} 1", f"@1 disable health {place}", f"@1 set server {place} health up"
