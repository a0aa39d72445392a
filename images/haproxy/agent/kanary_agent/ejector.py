"""Ejects servers that reset their connections from their routes for a while. HAProxy's checks do not detect them.

An ejected server is drained: its connections continue, and a check that passes does not return it. HAProxy keeps which
servers are drained, so an agent that starts returns the servers that a former agent has drained.
"""

import time
from collections import Counter

from kanary_agent import counters
from kanary_agent.counters import Place
from kanary_agent.ejections import Ejections
from kanary_agent.fullness import Fullness
from kanary_agent.master import Master, SilentError
from kanary_agent.outliers import Route
from kanary_agent.routes import Routes

POLL_SECONDS = 0.25
FAST_POLL_SECONDS = 0.05
"""The interval while connections are reset, and soon after a server has returned: each step of the agent."""
PROBATION_SECONDS = 2
CPU_SHARE = 1 / 50
"""Of a core, the most CPU time that the polls use; HAProxy uses about as much to answer. (Reading 5,000 servers takes
20 ms.)"""


class Ejector:
    """Polls the counters of a proxy's worker, and ejects outliers, the first time for `seconds`.

    `routes` and `fullness` receive the same readings.
    """

    def __init__(self, master: Master, routes: Routes, fullness: Fullness, seconds: float) -> None:
        self._master = master
        self._reported = routes
        self._fullness = fullness
        self._worker = ""
        self._resets: dict[str, int] = {}
        """By slot."""
        self._routes: dict[str, Route] = {}
        """By slot."""
        self._ejections = Ejections(seconds)
        self._drained: dict[Place, str] | None = None
        """Addresses by place; None until they are read from HAProxy."""
        self._sizes: Counter[str] = Counter()
        """The number of servers of each slot, read at the same time."""
        self._next = 0.0
        self._changes = 0

    def step(self, changes: int) -> None:
        """Poll if it is time, or if `changes`, the number of reloads and changes of servers, is another one."""
        now = time.monotonic()
        if now < self._next and changes == self._changes:
            return
        if changes != self._changes:
            # The worker may be another one, or have other servers.
            self._drained, self._changes = None, changes
        spent = time.process_time()
        try:
            is_fast = self._poll(now)
        except SilentError:
            # No worker, no servers.
            is_fast = False
        pause = (time.process_time() - spent) / CPU_SHARE
        self._next = time.monotonic() + max(FAST_POLL_SECONDS if is_fast else POLL_SECONDS, pause)

    def _poll(self, now: float) -> bool:
        """Return whether to poll again soon."""
        summary = self._master.summary()
        if not summary.worker:
            raise SilentError("no HAProxy worker responds")
        if summary.worker != self._worker:
            # A new worker starts with zero counters.
            self._worker, self._drained, self._routes, self._resets = summary.worker, None, {}, {}
        if self._drained is None:
            self._drained = self._read_drained(now)
        ejected = self._ejections.active
        for address in self._ejections.expire(now):
            print(f"returned: {address} receives connections again", flush=True)
        resets = {slot: figures.counts.reset for slot, figures in summary.slots.items() if slot in summary.backends}
        former, self._resets = self._resets, resets
        self._routes = {
            slot: route for slot, route in self._routes.items() if slot in resets and not route.is_outdated(now)
        }
        for slot, count in resets.items():
            if count != former.get(slot, 0) or self._may_have_ejections(slot):
                self._eject_outliers(slot, ejected, now)
        self._fullness.observe(summary.load, now)
        self._reported.observe(summary, self._sizes)
        returned = max(self._ejections.returned.values(), default=0)
        return resets != former or now < returned + PROBATION_SECONDS

    def _read_drained(self, now: float) -> dict[Place, str]:
        """The servers that HAProxy has drained: none in a new worker, unless a former agent drained them."""
        self._sizes, drained = Counter(), {}
        for place, state in counters.states(self._master.stream(counters.STATES)):
            if not state.is_in_maintenance:
                self._sizes[place.slot] += 1
                if state.is_drained:
                    drained[place] = state.address
        for address in drained.values():
            self._ejections.adopt(address, now)
        return drained

    def _may_have_ejections(self, slot: str) -> bool:
        """Whether a server of the slot is ejected or on probation; true for a slot that was not read yet."""
        route = self._routes.get(slot)
        return any(route is None or address in route for address in self._ejections)

    def _eject_outliers(self, slot: str, ejected: list[str], now: float) -> None:
        """Eject the outliers of a slot. `ejected` are the addresses that were ejected before this poll."""
        route = self._routes.setdefault(slot, Route())
        route.observe(counters.servers(self._master.stream(counters.servers_of(slot))), ejected, now)
        returned = self._ejections.returned
        on_probation = [address for address, since in returned.items() if not route.succeeded_since(address, since)]
        outliers = route.outliers(ejected, on_probation)
        ejectable = route.ejectable([*self._ejections.active, *outliers])
        for address in outliers:
            if address in ejectable:
                seconds = self._ejections.eject(address, now)
                count = route.resets_in_a_row(address)
                last = f"{count} connections" if count > 1 else "connection"
                print(f"ejected: {address} for {seconds:g} s: it has reset its last {last}", flush=True)
        self._drain(slot, {Place(slot, route.name(address)): address for address in ejectable})

    def _drain(self, slot: str, desired: dict[Place, str]) -> None:
        """Drain these servers of the slot, and no others."""
        drained = self._drained or {}
        former = {place: address for place, address in drained.items() if place.slot == slot}
        commands = [f"@1 set server {place} state drain" for place in desired.keys() - former.keys()]
        commands += [f"@1 set server {place} state ready" for place in former.keys() - desired.keys()]
        if commands:
            self._master.execute(*commands)
            self._drained = {place: address for place, address in drained.items() if place.slot != slot} | desired
