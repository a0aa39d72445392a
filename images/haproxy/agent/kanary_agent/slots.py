"""Which backend a slot serves, and which one it served before: its connections may last.

Slots are HAProxy's backends; a free one takes the next backend (`engine/render/slots.py`).
"""

import time
from collections import deque
from collections.abc import Mapping
from math import inf

KEPT = 5
"""How many former backends of a slot are known."""

_METRIC = "kanary_slot_backend"
"""The label `proxy` is the one of HAProxy's own metrics."""


class Slots:
    """The backends of each slot since the agent started. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.present: Mapping[str, str] = {}
        """The present backend of each slot."""
        self._backends: dict[str, deque[tuple[float, str]]] = {}
        """By slot: since when it has a backend, the present or last one first."""

    @property
    def are_known(self) -> bool:
        """Whether the backends have been observed."""
        return bool(self._backends)

    def observe(self, backends: Mapping[str, str]) -> None:
        """Take the present backends by slot."""
        self.present = backends
        for slot, backend in backends.items():
            known = self._backends.setdefault(slot, deque(maxlen=KEPT))
            if not known or known[0][1] != backend:
                known.appendleft((time.monotonic() if known else -inf, backend))

    def backend_of(self, slot: str, begin: float) -> str:
        """The backend of a connection that began at this time in this slot; '' if it is not known."""
        known = self._backends.get(slot, ())
        return next((backend for since, backend in known if since <= begin), "")

    def metrics(self) -> str:
        """The present backends for Prometheus, in its text format."""
        samples = (f'{_METRIC}{{proxy="{slot}",backend="{name}"}} 1\n' for slot, name in self.present.items())
        return f"# HELP {_METRIC} 1 for the backend of each slot\n# TYPE {_METRIC} gauge\n" + "".join(samples)
