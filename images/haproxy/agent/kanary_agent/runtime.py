"""Changes the routes of a running worker, their servers and weights, without a reload and its drain time.

A removed server is set to maintenance: its open connections continue. It is never deleted (`del server` has crashed
several versions of HAProxy), so a reload is necessary when many servers were removed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from kanary_agent import counters, texts
from kanary_agent.counters import Place, State
from kanary_agent.master import Master

CHANGES = 400
"""Maximum number of servers that are added and removed at once: each addition stops HAProxy's threads for a moment."""
STEP = 50
"""How many servers are added or removed with one connection to HAProxy: about 0.1 s, of 2 s until its time-out."""
REMOVED = 1000
"""Maximum number of removed servers: each takes about 5 KiB, and the process that a reload leaves 6 MB."""
_STATIC = re.compile(r" tcp-ut \S+")
"""The parameters that HAProxy does not accept in `add server`. The server has them after the next reload."""


def update(master: Master, served: str, text: str, count: Callable[[], None]) -> str:
    """Change the routes, servers and weights of the worker that serves the text `served` to those of `text`.

    Returns what was changed, or '' if a reload is necessary: then anything else differs, a slot passes from one backend
    to another at once, or HAProxy did not accept every change. Calls `count` before a change of the watched revision:
    what begins between the former and the next reading of the counters belongs to none. Raises SilentError if HAProxy
    does not respond.
    """
    former, latest = texts.parts_of(served), texts.parts_of(text)
    # A server that stays keeps its parameters: HAProxy can change them only with a reload.
    has_others = any(former.servers.get(key, words) != words for key, words in latest.servers.items())
    # A former agent may have been killed after it changed the slots.
    slots, replaced = texts.slots_of(text), (texts.slots_of(served), master.slots())
    is_reused = any(former_slots.get(slot, name) != name for slot, name in slots.items() for former_slots in replaced)
    if former.fixed != latest.fixed or has_others or is_reused:
        return ""
    desired = {Place(*key): words for key, words in latest.servers.items()}
    present = _states(master)
    # Some servers may be changed already: a former agent may have been killed in the middle.
    added = [place for place in desired if place not in present or present[place].is_in_maintenance]
    removed = [place for place, state in present.items() if place not in desired and not state.is_in_maintenance]
    if len(added) + len(removed) > CHANGES or sum(place not in desired for place in present) > REMOVED:
        return ""
    # A route must have its servers before its first connection, and keep them until its last one.
    for some in _steps(added):
        master.execute(*_add({place: desired[place] for place in some}, present))
    if added and not desired.keys() <= _in_service(master):
        return ""
    last = {name: latest.variables.pop(name, texts.NO_REVISION) for name in (texts.REVISION, texts.DIGEST)}
    if former.variables.get(texts.REVISION, texts.NO_REVISION) != last[texts.REVISION]:
        count()
        # Also if the agent is killed between two of these commands, no connection counts for weights that it has not.
        master.set_variables({texts.REVISION: texts.NO_REVISION})
    master.set_variables(latest.variables)
    for some in _steps(removed):
        master.execute(*(f"@1 set server {place} state maint" for place in some))
    if _in_service(master) != desired.keys() or master.state().split != texts.split_of(text):
        return ""
    # Last, so that a digest that is reported is in force.
    master.set_variables(last)
    routes = ", new routes" if texts.slots_of(served) != slots else ""
    weights = ", new weights" if texts.split_of(served) != texts.split_of(text) else ""
    return f"{len(added)} servers added, {len(removed)} removed{routes}{weights}"


def _steps(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    return (places[start : start + STEP] for start in range(0, len(places), STEP))


def _add(added: Mapping[Place, str], present: Mapping[Place, State]) -> Iterator[str]:
    """The commands that add servers with these parameters. Those that are present were removed before."""
    for place, words in added.items():
        if place not in present:
            yield f"@1 add server {place} {_STATIC.sub('', words)}"
    for place in added:
        yield f"@1 enable health {place}"
        yield f"@1 set server {place} state ready"


def _in_service(master: Master) -> set[Place]:
    return {place for place, state in _states(master).items() if not state.is_in_maintenance}


def _states(master: Master) -> dict[Place, State]:
    return dict(counters.states(master.stream(counters.STATES)))
