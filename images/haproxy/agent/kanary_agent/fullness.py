"""Whether a proxy is full: it holds all connections that it may, and new ones wait until others end.

Connections that wait take the places of those that end, so that a full proxy is below its limit for moments.
"""

from kanary_agent.counters import Load

NEARLY = 15 / 16
"""The part of the limit below which a proxy is not full any more."""
CALM_SECONDS = 10
"""For so long: otherwise the report, and the phase of the Kanary, would change with every burst."""


class Fullness:
    """Of the present worker, or of the last one if it became full."""

    def __init__(self) -> None:
        self.is_full = False
        self._near_at = 0.0
        """When it was nearly full last."""

    def observe(self, load: Load, now: float) -> None:
        """Take a reading."""
        if load.connections >= load.max_connections * NEARLY:
            self._near_at = now
        is_at_limit = 0 < load.max_connections <= load.connections
        self.is_full = is_at_limit or (self.is_full and now < self._near_at + CALM_SECONDS)
