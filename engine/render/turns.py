"""The rules by which HAProxy counts connections and tells whose turn each one is.

They find the counters `gpc0` and `gpc1` in the connection's tracked entry, which every connection shares, and leave the
route's number in `txn.route`. Routes are known by their numbers in digits, of which all have equally many, and the
backend of number 7 is called `r7`.
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


def turns(weights: Mapping[str, int], *, redistribute: bool) -> Iterator[str]:
    """The rules for routes of these weights. With `redistribute`, a route without a server that is up has no turns."""
    yield from _in_turn(weights)
    # A sole route has nowhere else to send its connections.
    if redistribute and len(weights) > 1:
        yield from _without_empty_routes(weights)


def _in_turn(weights: Mapping[str, int]) -> Iterator[str]:
    """The number of the route whose turn it is: a stretch of a text that holds those of a whole round."""
    numbers = list(weights)
    order = [numbers[place] for place in schedule(list(weights.values()))]
    width = len(order[0])
    yield "  tcp-request content set-var(txn.count) sc_inc_gpc0(0)"
    yield "  tcp-request content sc-inc-gpc1(0) if { var(txn.count) -m int 0 }"
    yield f"  tcp-request content set-var(txn.at) {_NUMBER},mod({len(order)}),mul({width})"
    yield f"  tcp-request content set-var(txn.route) str({''.join(order)}),bytes(txn.at,{width})"


def _without_empty_routes(weights: Mapping[str, int]) -> Iterator[str]:
    """What overrules the order of turns while it has a route without a server that is up: a round of slots.

    Each other route owns as many as its weight. When all are down, HAProxy's modulo by 0 is 0, which is no route's
    slot: the connection is closed by the route whose turn it was.
    """
    numbers = list(weights)
    for number in numbers:
        yield f"  acl is-short nbsrv(r{number}) 0"
    yield "  tcp-request content accept unless is-short"
    before = ""
    for number, weight in weights.items():
        yield f"  tcp-request content set-var(txn.end{number}) nbsrv(r{number}),bool,mul({weight}){before}"
        before = f",add(txn.end{number})"
    yield f"  tcp-request content set-var(txn.slot) {_NUMBER},mul({STRIDE}),mod(txn.end{numbers[-1]})"
    # From the last route down, so that the first one that ends beyond the slot has the last word.
    for number in reversed(numbers):
        is_before_the_end = f"{{ var(txn.slot),sub(txn.end{number}) -m int lt 0 }}"
        yield f"  tcp-request content set-var(txn.route) str({number}) if {is_before_the_end}"
