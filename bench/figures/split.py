"""How far the split is from the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.lab import Service
from bench.mixes import SIX, Mix, route_of
from bench.peers import SPLITTERS
from bench.session import Session, say
from bench.stats import table

WIDTHS = (100, 1_000, 10_000)

_TEXT = """
Excess or missing connections of a route: the worst route in the worst stretch of 100, 1,000 and 10,000 consecutive
connections, of 10,000. 0 / 0 / 0 is exact.
"""


def measure(session: Session) -> str:
    """The section."""
    peers = session.available(SPLITTERS)
    rows, failed = [], Counter[str]()
    for mix in SIX:
        say(f"split, {mix}: {session.scale.split_connections} connections for each of {len(peers)}")
        with session.serving(peers, mix) as services:
            row = [str(mix)]
            for name, service in services.items():
                taken = _taken(session, service)
                failed[name] += taken.count(None)
                row.append(" / ".join(f"{round(worst_error(taken, mix, width)):,}" for width in _widths(session)))
        rows.append(row)
    notes = [f"{name} is not available here: {session.missing[name]}." for name in session.missing]
    notes += [f"Failed connections: {count} of {name}." for name, count in failed.items() if count]
    return "\n\n".join([_TEXT.strip(), table(["", *(peer.name for peer in peers)], rows), *notes])


def worst_error(taken: Sequence[int | None], mix: Mix, width: int) -> float:
    """How far the worst route is from its share, in connections, in the worst of the stretches of this width."""
    stretches = [Counter(taken[start : start + width]) for start in range(0, len(taken) - width + 1, width)]
    return max(
        abs(stretch[route] - width * weight / 100) for stretch in stretches for route, weight in enumerate(mix.weights)
    )


def _widths(session: Session) -> list[int]:
    return [width for width in WIDTHS if width <= session.scale.split_connections]


def _taken(session: Session, service: Service) -> list[int | None]:
    """The route of each connection, None for each that failed."""
    answers = service.namespace.client("count", service.port, session.scale.split_connections)
    return [route_of(pod) if pod else None for pod in answers]
