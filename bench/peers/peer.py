"""What all peers have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from bench.lab import POD_PORT, Lab, Service
from bench.mixes import Mix


class UnavailableError(Exception):
    """This machine cannot run the peer; the message says why."""


class Peer(Protocol):
    """A way to split connections."""

    @property
    def name(self) -> str:
        """As the tables call it."""
        ...

    def serve(self, lab: Lab, mix: Mix, pod_port: int = POD_PORT) -> AbstractContextManager[Service]:
        """Splits by this mix, over pods that listen at this port, until the context ends.

        Raises UnavailableError where this machine cannot.
        """
        ...
