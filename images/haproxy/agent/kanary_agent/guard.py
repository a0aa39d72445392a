"""Takes servers that reset their connections out of their routes for a while, which no check of HAProxy's does.

They are drained: what they hold goes on, no check puts them back, and those that do not pass theirs are down as ever.
HAProxy itself knows who is drained, so an agent that is started puts back whom a former one has left.
"""

import time

from kanary_agent import counters
from kanary_agent.counters import Place
from kanary_agent.master import Master, SilentError
from kanary_agent.outliers import Route
from kanary_agent.sentences import Sentences

LOOK_SECONDS = 0.25
EAGER_SECONDS = 0.05
"""How often is looked while connections are reset, or soon after a server is back: at each turn of the agent."""
ON_TRIAL_SECONDS = 2
SHARE = 1 / 50
"""Of a core, the most that the agent takes to look, by CPU time; HAProxy takes about as much. (A look at 5,000 servers
takes 20 ms.)"""
REPORT_LIMIT = 20


class Guard:
    """Looks at what a proxy's worker has counted, and acts on it. The first time, a server is out for `seconds`."""

    def __init__(self, master: Master, seconds: float) -> None:
        self._master = master
        self._worker = ""
        self._resets: dict[str, int] = {}
        self._routes: dict[str, Route] = {}
        self._sentences = Sentences(seconds)
        self._drained: dict[Place, str] | None = None
        """None where HAProxy is to be asked."""
        self._next = 0.0
        self._changes = 0

    @property
    def ejected(self) -> list[str]:
        """The addresses of those that are out, or of some of them where they are many."""
        return sorted(set((self._drained or {}).values()))[:REPORT_LIMIT]

    def turn(self, changes: int) -> None:
        """Does what is to be done now. After a change, that is to take out again who is in, and should not be."""
        now = time.monotonic()
        if now < self._next and changes == self._changes:
            return
        if changes != self._changes:
            # It may be another worker, or the same one with other servers.
            self._drained, self._changes = None, changes
        spent = time.process_time()
        try:
            is_eager = self._look(now)
        except SilentError:
            # A worker that is gone has no servers.
            is_eager = False
        pause = (time.process_time() - spent) / SHARE
        self._next = time.monotonic() + max(EAGER_SECONDS if is_eager else LOOK_SECONDS, pause)

    def _look(self, now: float) -> bool:
        """Whether to look again soon."""
        worker, resets = counters.summary(self._master.ask(*counters.SUMMARY))
        if not worker:
            raise SilentError("HAProxy has no worker that answers")
        if worker != self._worker:
            # It has counted nothing yet.
            self._worker, self._drained, self._routes, self._resets = worker, None, {}, {}
        if self._drained is None:
            self._drained = self._recall(now)
        out = self._sentences.out
        for address in self._sentences.expire(now):
            print(f"returned: {address} is tried again", flush=True)
        former, self._resets = self._resets, resets
        self._routes = {
            name: route for name, route in self._routes.items() if name in resets and not route.is_forgotten(now)
        }
        for name, count in resets.items():
            if count != former.get(name, 0) or self._is_concerned(name):
                self._judge(name, out, now)
        returned = max(self._sentences.back.values(), default=0)
        return resets != former or now < returned + ON_TRIAL_SECONDS

    def _recall(self, now: float) -> dict[Place, str]:
        """Whom HAProxy has drained: in another worker nobody, unless there was another agent."""
        states = counters.states(self._master.lines(counters.STATES))
        drained = {place: state.address for place, state in states if state.is_drained and not state.is_out}
        for address in drained.values():
            self._sentences.adopt(address, now)
        return drained

    def _is_concerned(self, name: str) -> bool:
        """Whether a server of the route has a sentence, or may have one."""
        route = self._routes.get(name)
        return any(route is None or address in route for address in self._sentences)

    def _judge(self, name: str, out: list[str], now: float) -> None:
        """Passes sentence on the outliers of a route. `out` are those that were out until now."""
        route = self._routes.setdefault(name, Route())
        route.look(counters.servers(self._master.lines(counters.servers_of(name))), out, now)
        back = self._sentences.back
        on_trial = [address for address, since in back.items() if not route.did_well_since(address, since)]
        outliers = route.outliers(out, on_trial)
        removable = route.removable([*self._sentences.out, *outliers])
        for address in outliers:
            if address in removable:
                seconds = self._sentences.pass_on(address, now)
                count = route.failed_in_a_row(address)
                print(f"ejected: {address} for {seconds:g} s: it has reset {count} connections in a row", flush=True)
        self._drain(name, {Place(name, route.name(address)): address for address in removable})

    def _drain(self, name: str, wanted: dict[Place, str]) -> None:
        """Has HAProxy drain these servers of the route, and no others."""
        drained = self._drained or {}
        former = {place: address for place, address in drained.items() if place.route == name}
        commands = [f"@1 set server {place} state drain" for place in wanted.keys() - former.keys()]
        commands += [f"@1 set server {place} state ready" for place in former.keys() - wanted.keys()]
        if commands:
            self._master.ask(*commands)
            self._drained = {place: address for place, address in drained.items() if place.route != name} | wanted
