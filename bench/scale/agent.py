"""What the agent of one proxy pod reports, with what it has counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

INTERVAL_SECONDS = 30
"""After this time an agent reports counts of which one of the first two binary digits has changed."""
_BUSY = 4
"""One in so many proxies has traffic."""
_LEAST, _MOST = 2**21, 2**22 - 2**19
_MORE = 2**12
"""What each of its routes has counted, from another number on for each proxy, and counts in an interval: 137
connections a second for 4 to 7 hours. No measurement reaches the next power of two, which would be a write."""


@dataclass
class Agent:
    """The agent of one pod."""

    kanary: str
    uid: str
    """Of the pod."""
    serves: str = ""
    streams: set[asyncio.StreamWriter] = field(default_factory=set)
    """The connections on which it sends its reports."""
    _connections: int = 0

    def __post_init__(self) -> None:
        self._connections = _LEAST + hash(self.uid) % (_MOST - _LEAST)

    def count(self, servers: Mapping[str, int]) -> None:
        """Count the connections of an interval, and report as an agent does; `servers` is as in `report`."""
        if hash(self.uid) % _BUSY:
            return
        before, self._connections = self._connections, self._connections + _MORE
        if rounded(before) != rounded(self._connections):
            self.send(self.report(servers))

    def report(self, servers: Mapping[str, int]) -> bytes:
        """A line with its report; `servers` is the number of servers of each route."""
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
            "sinceChange": self._connections,
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


def rounded(count: int) -> int:
    """With zeros after the first two binary digits."""
    rest = max(0, count.bit_length() - 2)
    return count >> rest << rest
