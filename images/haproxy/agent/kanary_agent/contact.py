"""Contact with the operator: while it can act on a rollout, it sends a sign on its stream of reports every few seconds.

A connection that is open proves nothing: the operator may be cut off from the API server, or may have
failed without closing it.
"""

import time

LOST_SECONDS = 10
"""After this time without a sign, the operator counts as gone: it misses three signs."""


class Contact:
    """When the last sign arrived, for the pod with the uid `pod`; `lost_seconds` later the operator counts as gone."""

    def __init__(self, pod: str, lost_seconds: float = LOST_SECONDS) -> None:
        self.sign = f"operator of {pod}\n".encode()
        """The line that the operator sends."""
        self._lost_seconds = lost_seconds
        self._last = time.monotonic()

    def renew(self) -> None:
        """A sign of the operator has arrived."""
        self._last = time.monotonic()

    def take(self, received: bytes) -> bytes | None:
        """Take complete signs from what a client has sent; returns the rest, or None if that is anything else."""
        *lines, rest = received.split(b"\n")
        if not self.sign.startswith(rest) or any(line + b"\n" != self.sign for line in lines):
            return None
        if lines:
            self.renew()
        return rest

    @property
    def is_lost(self) -> bool:
        """Whether the operator counts as gone."""
        return time.monotonic() > self._last + self._lost_seconds
