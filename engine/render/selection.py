"""The HAProxy rules that count connections and select the backend of each.

All connections share one tracked entry with the counters `gpc0` and `gpc1`. The schedule is a string: the name of the
backend of each turn, padded to equal length with dots, which no name contains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.render.schedule import schedule

# The schedule assumes that every route has a server that is up. While health checks mark a whole route down, the
# remaining routes own slots of a shorter round, and successive connections are this many slots apart. The number is
# coprime to every number up to 100, so each round visits every slot once. It is the smallest that stays within 6
# connections of the weights in every stretch of every such round. (461 is as good for a hundred slots, but it is 1
# modulo 92, 46 and 20: each route would get all its slots in one run.)
STRIDE = 19541

# Number of values of a HAProxy counter before it wraps.
_COUNTER = 2**32

RANDOM_START = f"date(0,us),mod({_COUNTER})"
"""Start of the counter in a new proxy. (HAProxy's `rand` returns the same value at every start.)"""

_NUMBER = f"sc_get_gpc1(0),mul({_COUNTER}),add(txn.count),add(proc.start)"
"""The connection's number. A counter has 32 bits: a second one counts its wraps, which would shorten a round."""


def selection_rules(weights: Mapping[str, int], *, redistribute: bool) -> Iterator[str]:
    """The rules for these backends and weights. `redistribute` skips backends without a server that is up."""
    yield from _in_turn(weights)
    # With a single backend there is no other to redistribute to.
    if redistribute and len(weights) > 1:
        yield from _without_empty_backends(weights)
    # Not in the expression of `bytes`, which may pass a wrong size to a converter that follows it.
    yield "  use_backend %[var(txn.backend),rtrim(.)]"


def _in_turn(weights: Mapping[str, int]) -> Iterator[str]:
    names, order = list(weights), schedule(list(weights.values()))
    # One dot more than the longest name needs, for readability.
    width = max(map(len, names)) + 1
    text = "".join(names[place].ljust(width, ".") for place in order)
    yield "  tcp-request content set-var(txn.count) sc_inc_gpc0(0)"
    yield "  tcp-request content sc-inc-gpc1(0) if { var(txn.count) -m int 0 }"
    yield f"  tcp-request content set-var(txn.at) {_NUMBER},mod({len(order)}),mul({width})"
    yield f"  tcp-request content set-var(txn.backend) str({text}),bytes(txn.at,{width})"


def _without_empty_backends(weights: Mapping[str, int]) -> Iterator[str]:
    """The rules that override the schedule while one of its backends has no server that is up.

    Each other backend owns as many slots as its weight. If all are down, HAProxy's modulo by 0 is 0, a slot of no
    backend: the backend of the turn closes the connection.
    """
    for name in weights:
        yield f"  acl is-short nbsrv({name}) 0"
    yield "  tcp-request content accept unless is-short"
    ends = {name: f"txn.end{number}" for number, name in enumerate(weights)}
    before = ""
    for name, weight in weights.items():
        yield f"  tcp-request content set-var({ends[name]}) nbsrv({name}),bool,mul({weight}){before}"
        before = f",add({ends[name]})"
    yield f"  tcp-request content set-var(txn.slot) {_NUMBER},mul({STRIDE}),mod({list(ends.values())[-1]})"
    # From the last backend to the first, so that the first one that ends beyond the slot is set last.
    for name, end in reversed(ends.items()):
        yield f"  tcp-request content set-var(txn.backend) str({name}) if {{ var(txn.slot),sub({end}) -m int lt 0 }}"
