"""The rules by which HAProxy counts connections and picks the backend whose turn it is.

They find the counters `gpc0` and `gpc1` in the connection's tracked entry, which every connection shares. The order of
turns is a text: the name of each turn's backend, all filled up to the same length with dots, of which no name has any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.render.schedule import schedule

# The order of turns is written for a round in which every route has a server that is up. In the rounds that are left
# when health checks take out a whole route, successive connections land this far apart among the slots. Sharing no
# factor with any number up to 100, it visits every slot once per round. No smaller number stays as close to the weights
# in every stretch of every such round: within 6 connections. (461 would be as good with all hundred slots, but it is 1
# modulo 92, 46 and 20: each route all its slots in one run.)
STRIDE = 19541

# How many values a counter of HAProxy has before it starts over.
_COUNTER = 2**32

RANDOM_START = f"date(0,us),mod({_COUNTER})"
"""Where a fresh proxy begins to count. (HAProxy's `rand` gives the same value at every start.)"""

_NUMBER = f"sc_get_gpc1(0),mul({_COUNTER}),add(txn.count),add(proc.start)"
"""The connection's number. A counter has 32 bits: a second one counts its wraps, which would else cut a round short."""


def selection_rules(weights: Mapping[str, int], *, redistribute: bool) -> Iterator[str]:
    """The rules for these backends and weights. With `redistribute`, one without a server that is up has no turns."""
    yield from _in_turn(weights)
    # A sole backend has no other that could take its connections.
    if redistribute and len(weights) > 1:
        yield from _without_empty_backends(weights)
    # Not where the name is found: `bytes` may leave a wrong size for what follows it in the same expression.
    yield "  use_backend %[var(txn.backend),rtrim(.)]"


def _in_turn(weights: Mapping[str, int]) -> Iterator[str]:
    names, order = list(weights), schedule(list(weights.values()))
    # A dot more than the longest name needs, for whoever reads it.
    width = max(map(len, names)) + 1
    text = "".join(names[place].ljust(width, ".") for place in order)
    yield "  tcp-request content set-var(txn.count) sc_inc_gpc0(0)"
    yield "  tcp-request content sc-inc-gpc1(0) if { var(txn.count) -m int 0 }"
    yield f"  tcp-request content set-var(txn.at) {_NUMBER},mod({len(order)}),mul({width})"
    yield f"  tcp-request content set-var(txn.backend) str({text}),bytes(txn.at,{width})"


def _without_empty_backends(weights: Mapping[str, int]) -> Iterator[str]:
    """What overrules the order of turns while it has a backend without a server that is up: a round of slots.

    Each other backend owns as many as its weight. When all are down, HAProxy's modulo by 0 is 0, which is no backend's
    slot: the connection is closed by the backend whose turn it was.
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
    # From the last backend down, so that the first one that ends beyond the slot has the last word.
    for name, end in reversed(ends.items()):
        yield f"  tcp-request content set-var(txn.backend) str({name}) if {{ var(txn.slot),sub({end}) -m int lt 0 }}"
