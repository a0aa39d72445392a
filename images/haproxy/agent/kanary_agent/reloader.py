"""Reloads HAProxy: keeps its worker alive meanwhile, and the reloads apart.

For a reload, the master of HAProxy 3.0 starts itself anew. A worker that ends in this moment, as one without
connections does, stays in the master's list for ever, with a file descriptor of the master: with a low limit it could
not reload any more after some of them. 3.2 does not have this fault.
"""

import re
import socket
import time

from kanary_agent.master import Master

ANSWER_SECONDS = 1
ENDING_SECONDS = 2
"""How long a reload waits for the end of the former worker, if that has no connections."""
FREE_WORKERS = 8
SPACING_PER_WORKER = 0.25
SPACING_LIMIT = 5.0
"""How long after the last reload the next one begins, for each former worker beyond the free ones, and at most.

Each one takes memory until its connections have ended. Changes that follow each other at once take one reload.
"""
_OPS_PORT = re.compile(r"^frontend ops\n(?:  .*\n)*?  bind :(\d+)", re.MULTILINE)
# The answer proves that the worker has accepted the connection. It waits for the rest of the second request for 2 s.
_REQUESTS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET"


class Reloader:
    """Reloads HAProxy, and limits how often."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._reloaded = float("-inf")
        """When the last reload ended."""
        self._left = ""
        """The worker that it left."""

    def has_to_wait(self, now: float) -> bool:
        """Whether it is too early for the next reload."""
        _, former = self._master.workers()
        spacing = min(SPACING_PER_WORKER * (len(former) - FREE_WORKERS), SPACING_LIMIT)
        if self._left in former:
            spacing = max(spacing, ENDING_SECONDS)
        return now < self._reloaded + spacing

    def reload(self, served: str) -> str:
        """Reload HAProxy, whose worker serves the text `served`; returns HAProxy's errors, or ''."""
        left, _ = self._master.workers()
        connection = _connection(served)
        try:
            return self._master.reload()
        finally:
            if connection:
                connection.close()
            self._reloaded, self._left = time.monotonic(), left


def _connection(served: str) -> socket.socket | None:
    """A connection that the worker does not end when it stops."""
    port = _OPS_PORT.search(served)
    if not port:
        return None
    connection = socket.socket()
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(("127.0.0.1", int(port[1])))
        connection.sendall(_REQUESTS)
        connection.recv(2**12)
    except OSError:
        connection.close()
        return None
    return connection
