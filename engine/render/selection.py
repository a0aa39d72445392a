"""The HAProxy rules that count connections and select the backend of each, and the data that they read.

The weights are data: the rules are the same for all weights, and a running worker takes new data without a reload. The
data are one variable, `proc.split`, so that no connection sees a part of a change. It has two parts, in a fixed number
of digits each:

- the turns of a round, each with the index of its route; the number of turns is constant, because a connection may read
  the number before a change and the turn after it;
- with `redistribute`, the weights in lowest terms (80 and 20 are 4 and 1): their sum, then the weight of each route, or
  0 if the route has no servers.

All connections share one tracked entry with the counter `gpc0`, which numbers them.

Each rule counts: HAProxy itself needs 27,000 instructions in user space per connection, and these rules add 4,000 to
5,000 (3.0.11, with 2 to 100 routes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import gcd

from engine.model.weight import TENTHS
from engine.render.config import Pool
from engine.render.schedule import schedule

TURNS = TENTHS
"""The turns of a round: the shortest round that gives every possible weight its turns.

Whole weights need 100 turns at most, which are repeated, so that every 100 successive connections are exact.
"""

# The schedule assumes that every route has a server that is up. While one has none, the other routes own slots of a
# shorter round, and successive connections are this many slots apart. The number is coprime to every number up to 1000,
# so each round visits every slot once. In every stretch of every round it stays within 6 connections of the weights if
# they are whole (up to 100 slots), otherwise within 39; it is the smallest that stays within 6 and 40.
STRIDE = 16548859

COUNTING_ALL = 2**60
"""The value of `proc.turns` that makes connections count the servers of all routes: a number beyond every turn."""

RANDOM_START = "date(0,us)"
"""Start of the counter in a new proxy, which is beyond every turn as well.

HAProxy's `rand` returns the same value at every start.
"""

_WEIGHT_DIGITS = len(str(TENTHS))


def split_data(routes: Sequence[Pool], *, redistribute: bool) -> str:
    """The data of these routes, as digits."""
    tenths = [int(10 * route.weight) for route in routes]
    unit = gcd(*tenths)
    weights = [weight // unit if route.servers else 0 for route, weight in zip(routes, tenths, strict=True)]
    shared = [TENTHS // unit, *weights] if redistribute else []
    return _turns(tuple(tenths)) + "".join(f"{weight:0{_WEIGHT_DIGITS}}" for weight in shared)


# A change of endpoints renders the same weights again.
@lru_cache(maxsize=1024)
def _turns(tenths: tuple[int, ...]) -> str:
    order = schedule(tenths)
    digits = _route_digits(len(tenths))
    return "".join(f"{route:0{digits}}" for route in order) * (TURNS // len(order))


def backend_ids(count: int) -> range:
    """The ids of this number of backends, by the index of their route."""
    first = 10 ** _route_digits(count)
    return range(first, first + count)


def selection_rules(backends: Sequence[str], *, redistribute: bool) -> Iterator[str]:
    """The rules for these backends. `redistribute` skips backends without a server that is up."""
    # With a single backend there is no other to redistribute to.
    redistribute = redistribute and len(backends) > 1
    yield "  tcp-request connection track-sc0 int(1) table counter"
    yield from _in_turn(_route_digits(len(backends)), "proc.turns" if redistribute else str(TURNS))
    if redistribute:
        yield from _without_empty_backends(backends)
    yield "  use_backend %[var(sess.backend)]"


def _route_digits(routes: int) -> int:
    return len(str(routes - 1))


def _in_turn(digits: int, turns: str) -> Iterator[str]:
    """The rules that give each connection the backend of its turn.

    `gpc0` has 32 bits. When it wraps, once in 4,294,967,296 connections, the round continues with another turn: of the
    connections across it, a route gets at most 3 more or less than its share. To count the wraps would cost a quarter
    of these rules, and other threads would number some connections before the wrap was counted.
    """
    offset = f",mul({digits})" if digits > 1 else ""
    yield f"  tcp-request connection set-var(sess.at) sc_inc_gpc0(0),add(proc.start),mod({turns}){offset}"
    yield _backend_at("proc.split", "sess.at", digits)


def _backend_at(split: str, at: str, digits: int) -> str:
    # HAProxy finds a backend by `#` and its id, as it does by its name; the id is a 1, then the index of the route. To
    # look up the name instead, in a table, would double the cost of the rules.
    # `bytes` ends the expression, because it may pass a wrong size to a converter that follows it.
    return f'  tcp-request connection set-var-fmt(sess.backend) "#1%[var({split}),bytes({at},{digits})]"'


def _without_empty_backends(backends: Sequence[str]) -> Iterator[str]:
    """The rules that override the schedule while one of its backends has no server that is up.

    To count the servers of all backends for each connection would be expensive. A connection counts those of its own
    backend. The first one that finds none sets `proc.turns` to COUNTING_ALL. Then `sess.at` of later connections is
    beyond all turns, so that they find no backend, and count the servers of all, until all backends have one. A
    variable of its own for this state would be read by each connection.

    Each other backend owns as many slots as its weight. If all are down, HAProxy's modulo by 0 is 0, a slot of no
    backend: the backend of the turn closes the connection.
    """
    digits = _route_digits(len(backends))
    at, before = TURNS * digits, ""
    yield "  tcp-request connection accept if { var(sess.backend),nbsrv gt 0 }"
    yield f"  tcp-request connection set-var(proc.turns) int({COUNTING_ALL})"
    yield "  tcp-request connection set-var(sess.split) var(proc.split)"
    yield f"  tcp-request connection set-var(sess.turn) var(sess.at),mod({at})"
    yield _backend_at("sess.split", "sess.turn", digits)
    ends = {name: f"sess.end{number}" for number, name in enumerate(backends)}
    yield f"  tcp-request connection set-var(sess.complete) var(sess.split),bytes({at},{_WEIGHT_DIGITS})"
    for name, end in ends.items():
        at += _WEIGHT_DIGITS
        yield f"  tcp-request connection set-var(sess.weight) var(sess.split),bytes({at},{_WEIGHT_DIGITS})"
        yield f"  tcp-request connection set-var({end}) nbsrv({name}),bool,mul(sess.weight){before}"
        before = f",add({end})"
    total = list(ends.values())[-1]
    yield f"  acl is-complete var({total}),sub(sess.complete) -m int 0"
    yield f"  tcp-request connection set-var(proc.turns) int({TURNS}) if is-complete"
    yield "  tcp-request connection accept if is-complete"
    # The remainder first: HAProxy cuts products at 2^63, which a large number times the stride would exceed.
    number = f"var(sess.at),div({digits})"
    yield f"  tcp-request connection set-var(sess.slot) {number},mod({total}),mul({STRIDE}),mod({total})"
    # From the last backend to the first, so that the first one that ends beyond the slot is set last.
    for name, end in reversed(ends.items()):
        ends_beyond = f"{{ var(sess.slot),sub({end}) -m int lt 0 }}"
        yield f"  tcp-request connection set-var(sess.backend) str({name}) if {ends_beyond}"
