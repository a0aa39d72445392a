"""The HAProxy rules that count connections and select the backend of each, and the data that they read.

The weights are data: the rules are the same for all weights, and a running worker takes new data without a reload. The
data are one variable, `proc.split`, so that no connection sees a part of a change. It has two parts, in a fixed number
of characters each, and each part those of all ports, one after the other:

- the turns of a round, each with the name of its slot (`slots`); the number of turns is constant, because a
  connection may read the number before a change and the turn after it;
- with `redistribute`, the weights in lowest terms (80 and 20 are 4 and 1): their sum, then the weight of each slot, or
  0 if it has no servers.

All connections to a port share one tracked entry with the counter `gpc0`, which numbers them.

Each rule counts: HAProxy itself needs 27,000 instructions in user space per connection, and these rules and the log add
4,100 to 4,700 (3.0.11, with 2 to 100 routes), or 2,700 if they do not redistribute. Their code counts as well: with 32
KB of cache for it, a connection misses that cache 1,720 instead of 1,370 times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from engine.model.weight import TENTHS
from engine.render.config import Pool
from engine.render.schedule import schedule
from engine.render.slots import slot_names

TURNS = TENTHS
"""The turns of a round: the shortest round that gives every possible weight its turns.

Whole weights need 100 turns at most, which are repeated, so that every 100 successive connections are exact.
"""

# The schedule assumes that every route has a server that is up. While one has none, the other routes have the places of
# a shorter round, and successive connections are this many places apart. The number is coprime to every number up to
# 1000, so each round visits every place once. In every stretch of every round it stays within 6 connections of the
# weights if they are whole (up to 100 places), otherwise within 39; it is the smallest that stays within 6 and 40.
STRIDE = 16548859

COUNTING_ALL = 2**60
"""The value of `proc.turns` that makes connections count the servers of all routes: a number beyond every turn."""

RANDOM_START = "date(0,us)"
"""Start of the counter in a new proxy, which is beyond every turn as well.

HAProxy's `rand` returns the same value at every start.
"""

_WEIGHT_DIGITS = len(str(TENTHS))


def split_data(*ports: Sequence[Pool | None], redistribute: bool) -> str:
    """The data of the routes of each port by slot."""
    tenths = [tuple(int(10 * route.weight) if route else 0 for route in routes) for routes in ports]
    turns = "".join(map(_turns, tenths))
    return turns + "".join(map(_weights, ports, tenths) if redistribute else ())


def _weights(routes: Sequence[Pool | None], tenths: Sequence[int]) -> str:
    unit = gcd(*tenths)
    weights = [weight // unit if route and route.servers else 0 for route, weight in zip(routes, tenths, strict=True)]
    return "".join(f"{weight:0{_WEIGHT_DIGITS}}" for weight in (TENTHS // unit, *weights))


# A change of endpoints renders the same weights again.
@lru_cache(maxsize=1024)
def _turns(tenths: tuple[int, ...]) -> str:
    order, names = schedule(tenths), slot_names(len(tenths))
    return "".join(names[slot] for slot in order) * (TURNS // len(order))


class PortPlace(NamedTuple):
    """What differs between the ports: the place of its data, and the names of its counter and variables."""

    number: int = 0
    """Of the port among all, from 0."""
    ports: int = 1
    """How many there are."""
    name: str = ""
    """At the end of the names; empty for the first port."""


FIRST = PortPlace()
"""That of the only port."""


def selection_rules(slots: int, place: PortPlace = FIRST, *, redistribute: bool) -> Iterator[str]:
    """The rules for this number of slots. `redistribute` skips those without a server that is up."""
    # With a single slot there is no other to redistribute to.
    redistribute = redistribute and slots > 1
    yield f"  tcp-request connection track-sc0 int({place.name or 1}) table counter"
    names = slot_names(slots)
    yield _turn(len(names[0]), f"proc.turns{place.name}" if redistribute else str(TURNS), place)
    backend = _name_at("proc.split", "sess.at", len(names[0]))
    if redistribute:
        yield f"  tcp-request connection accept if {{ {backend},set-var(sess.backend),nbsrv -m bool }}"
        yield from _without_empty_slots(names, place)
        # Not read again: a change may come between the two, and its backend would not have been checked.
        backend = "var(sess.backend)"
    yield f"  use_backend %[{backend}]"


def _turn(length: int, turns: str, place: PortPlace) -> str:
    """The rule that gives each connection its turn: the place of the backend's name in the data.

    `gpc0` has 32 bits. When it wraps, once in 4,294,967,296 connections, the round continues with another turn: of the
    connections across it, a route gets at most 3 more or less than its share. To count the wraps would cost a quarter
    of these rules, and other threads would number some connections before the wrap was counted.
    """
    offset = f",mul({length})" if length > 1 else ""
    offset += _added(place.number * TURNS * length)
    return f"  tcp-request connection set-var(sess.at) sc_inc_gpc0(0),add(proc.start{place.name}),mod({turns}){offset}"


def _name_at(split: str, at: str, length: int) -> str:
    # `bytes` may pass a wrong size to a converter that follows it: only those that need no space beyond the name may.
    return f"var({split}),bytes({at},{length})"


def _added(offset: int) -> str:
    return f",add({offset})" if offset else ""


def _without_empty_slots(names: Sequence[str], place: PortPlace) -> Iterator[str]:
    """The rules that override the schedule while one of its slots has no server that is up.

    To count the servers of all slots for each connection would be expensive. A connection counts those of its own. The
    first one that finds none sets `proc.turns` to COUNTING_ALL. Then `sess.at` of later connections is beyond all
    turns, so that they find no backend, and count the servers of all, until all slots with a weight have one. A
    variable of its own for this state would be read by each connection.

    In the round of the others, each has as many places as its weight. If all are down, HAProxy's modulo by 0 is 0, a
    place of none: the backend of the turn closes the connection.
    """
    length, turns = len(names[0]), f"proc.turns{place.name}"
    of_port, before = TURNS * length, ""
    yield f"  tcp-request connection set-var({turns}) int({COUNTING_ALL})"
    yield "  tcp-request connection set-var(sess.split) var(proc.split)"
    yield f"  tcp-request connection set-var(sess.turn) var(sess.at),mod({of_port}){_added(place.number * of_port)}"
    yield f"  tcp-request connection set-var(sess.backend) {_name_at('sess.split', 'sess.turn', length)}"
    ends = {name: f"sess.end{index}" for index, name in enumerate(names)}
    at = place.ports * of_port + place.number * (1 + len(names)) * _WEIGHT_DIGITS
    yield f"  tcp-request connection set-var(sess.complete) var(sess.split),bytes({at},{_WEIGHT_DIGITS})"
    for name, end in ends.items():
        at += _WEIGHT_DIGITS
        yield f"  tcp-request connection set-var(sess.weight) var(sess.split),bytes({at},{_WEIGHT_DIGITS})"
        yield f"  tcp-request connection set-var({end}) nbsrv({name}),bool,mul(sess.weight){before}"
        before = f",add({end})"
    total = list(ends.values())[-1]
    yield f"  acl is-complete var({total}),sub(sess.complete) -m int 0"
    yield f"  tcp-request connection set-var({turns}) int({TURNS}) if is-complete"
    yield "  tcp-request connection accept if is-complete"
    # The remainder first: HAProxy cuts products at 2^63, which a large number times the stride would exceed.
    number = f"var(sess.at),div({length})"
    yield f"  tcp-request connection set-var(sess.place) {number},mod({total}),mul({STRIDE}),mod({total})"
    # From the last slot to the first, so that the first one that ends beyond the place is set last.
    for name, end in reversed(ends.items()):
        ends_beyond = f"{{ var(sess.place),sub({end}) -m int lt 0 }}"
        yield f"  tcp-request connection set-var(sess.backend) str({name}) if {ends_beyond}"
