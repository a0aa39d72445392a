"""What the agent of one proxy pod reports, with what it has counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

INTERVAL_SECONDS = 30
"""After this time an agent reports counts that have changed, or sends an empty line."""
_BUSY = 4
"""One in so many proxies has traffic."""
_CONNECTIONS = 3 * 2**20
_MORE = 2**12
"""What each of its routes has counted, and counts in an interval: no measurement reaches the next power of two."""


@dataclass
class Agent:
    """The agent of one pod."""

    kanary: str
    uid: str
    """Of the pod."""
    serves: str = ""
    streams: set[asyncio.StreamWriter] = field(default_factory=set)
    """The connections on which it sends its reports."""
    _connections: int = _CONNECTIONS

    def line(self, servers: Mapping[str, int]) -> bytes:
        """The line of the next interval; `servers` is the number of servers of each route."""
        if hash(self.uid) % _BUSY:
            return b"\n"
        self._connections += _MORE
        return self.report(servers)

    def report(self, servers: Mapping[str, int]) -> bytes:
        """A line with its report."""
        report: dict[str, object] = {
            "pod": self.uid,
            "time": int(time.time()),
            "digest": self.serves,
            "rejected": None,
            "draining": 0,
            "connections": 62,
            "maxConnections": 20_000,
            "full": False,
            "problem": "",
            "routes": {backend: self._route(count) for backend, count in servers.items()},
        }
        return json.dumps(report).encode() + b"\n"

    def _route(self, servers: int) -> dict[str, object]:
        return {
            "up": servers,
            "down": 0,
            "ejected": 0,
            "unreachedSeconds": None,
            "open": 31,
            "connections": self._connections,
            "unconnected": 3,
            "reset": 1_600,
            "retries": 40,
            "redispatches": 17,
            "servers": [],
        }

    def send(self, line: bytes) -> None:
        """Send a line on all connections."""
        for stream in self.streams:
            stream.write(line)
