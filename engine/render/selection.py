"""The HAProxy rules that count connections and select the backend of each, and the data that they read.

The weights are data: the rules are the same for all weights, and a running worker takes new data without a reload. The
data are one variable, `proc.split`, so that no connection sees a part of a change. It has two parts, in a fixed number
of digits each:

- the turns of a round, each with the index of its route; the number of turns is constant, because a connection may read
  the number before a change and the turn after it;
- with `redistribute`, the weights in lowest terms (80 and 20 are 4 and 1): their sum, then the weight of each route, or
  0 if the route has no servers.

All connections share one tracked entry with the counters `gpc0` and `gpc1`, which number them.
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

# Number of values of a HAProxy counter before it wraps.
_COUNTER = 2**32

RANDOM_START = f"date(0,us),mod({_COUNTER})"
"""Start of the counter in a new proxy. (HAProxy's `rand` returns the same value at every start.)"""

_NUMBER = f"sc_get_gpc1(0),mul({_COUNTER}),add(txn.count),add(proc.start)"
"""The connection's number. A counter has 32 bits: a second one counts its wraps, which would shorten a round."""

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
    yield from _in_turn(len(backends))
    # With a single backend there is no other to redistribute to.
    if redistribute and len(backends) > 1:
        yield from _without_empty_backends(backends)
    yield "  use_backend %[var(txn.backend)]"


def _route_digits(routes: int) -> int:
    return len(str(routes - 1))


def _in_turn(routes: int) -> Iterator[str]:
    digits = _route_digits(routes)
    yield "  tcp-request content set-var(txn.count) sc_inc_gpc0(0)"
    yield "  tcp-request content sc-inc-gpc1(0) if { var(txn.count) -m int 0 }"
    offset = f",mul({digits})" if digits > 1 else ""
    yield f"  tcp-request content set-var(txn.at) {_NUMBER},mod({TURNS}){offset}"
    # HAProxy finds a backend by `#` and its id, as it does by its name; the id is a 1, then the index of the route. To
    # look up the name instead, in a table, would double the cost of the rules.
    # `bytes` ends each expression, because it may pass a wrong size to a converter that follows it.
    yield f'  tcp-request content set-var-fmt(txn.backend) "#1%[var(proc.split),bytes(txn.at,{digits})]"'


def _without_empty_backends(backends: Sequence[str]) -> Iterator[str]:
    """The rules that override the schedule while one of its backends has no server that is up.

    To count the servers of all backends for each connection would be expensive. A connection counts those of its own
    backend; the first one that finds none sets `proc.count_all`, and from then on all are counted, until all have one.

    Each other backend owns as many slots as its weight. If all are down, HAProxy's modulo by 0 is 0, a slot of no
    backend: the backend of the turn closes the connection.
    """
    yield "  tcp-request content accept if { var(txn.backend),nbsrv gt 0 } { var(proc.count_all) -m int 0 }"
    yield "  tcp-request content set-var(proc.count_all) int(1)"
    yield "  tcp-request content set-var(txn.split) var(proc.split)"
    ends = {name: f"txn.end{number}" for number, name in enumerate(backends)}
    at, before = TURNS * _route_digits(len(backends)), ""
    yield f"  tcp-request content set-var(txn.complete) var(txn.split),bytes({at},{_WEIGHT_DIGITS})"
    for name, end in ends.items():
        at += _WEIGHT_DIGITS
        yield f"  tcp-request content set-var(txn.weight) var(txn.split),bytes({at},{_WEIGHT_DIGITS})"
        yield f"  tcp-request content set-var({end}) nbsrv({name}),bool,mul(txn.weight){before}"
        before = f",add({end})"
    total = list(ends.values())[-1]
    yield f"  acl is-complete var({total}),sub(txn.complete) -m int 0"
    yield "  tcp-request content set-var(proc.count_all) int(0) if is-complete"
    yield "  tcp-request content accept if is-complete"
    # The remainder first: HAProxy cuts products at 2^63, which a large number times the stride would exceed.
    yield f"  tcp-request content set-var(txn.slot) {_NUMBER},mod({total}),mul({STRIDE}),mod({total})"
    # From the last backend to the first, so that the first one that ends beyond the slot is set last.
    for name, end in reversed(ends.items()):
        yield f"  tcp-request content set-var(txn.backend) str({name}) if {{ var(txn.slot),sub({end}) -m int lt 0 }}"
