"""Reads HAProxy's counters of routes and servers.

Observed with 3.0.11 in TCP mode: `eresp` counts a connection that its server resets, at any time. It does not count
resets by the client, closes by either side, half-closes and time-outs (`srv_abrt` also counts half-closed connections
that time out). No counter shows a server that closes without sending a byte. `bout`, the bytes received from the
server, changes only when a connection ends. `stot` counts attempts to connect, including those that failed (`wretr`
and `wredis`).
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SUMMARY = ("@1 show info", "@1 show stat -1 2 -1")
STATES = "@1 show servers state"

# HAProxy quotes a text with commas, such as that of a failed check.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_MAINTENANCE = 1
_DRAINED = 8


class Server(NamedTuple):
    """A server of a route, and how its connections have ended since the worker started."""

    name: str
    address: str
    is_up: bool
    """Whether its checks pass. A drained server may be up."""
    succeeded: int
    reset: int
    sent: int
    """Bytes received from it, in connections that have ended."""


class Place(NamedTuple):
    """The place of a server in HAProxy's configuration; as text, in the form of HAProxy's commands."""

    route: str
    name: str

    def __str__(self) -> str:
        return f"{self.route}/{self.name}"


class State(NamedTuple):
    """The administrative state of a server."""

    address: str
    is_in_maintenance: bool
    """The server does not belong to the route."""
    is_drained: bool
    """The server belongs to the route and receives no new connections."""


def servers_of(route: str) -> str:
    """The command that returns the counters of the route's servers."""
    return f"@1 show stat {route} 4 -1"


def summary(answer: str) -> tuple[str, dict[str, int]]:
    """The worker's identifier (empty without a worker), and by route how many connections its servers have reset."""
    worker = " ".join(re.findall(r"^(?:Pid|Start_time_sec): (\d+)", answer, re.MULTILINE))
    return worker, {row["pxname"]: int(row["eresp"]) for row in _rows(answer.splitlines())}


def servers(lines: Iterable[str]) -> Iterator[Server]:
    """The servers of a route in an answer, as an iterator: the answer for 5,000 servers is a megabyte."""
    for row in _rows(lines):
        if row["status"].startswith("MAINT"):
            # It was removed from the route and only keeps its open connections.
            continue
        stot, scur, econ, eresp, wretr, wredis = (int(row[name]) for name in _COUNTERS)
        succeeded = stot - scur - econ - eresp - wretr - wredis
        is_up = row["status"].startswith(("UP", "DRAIN", "no check"))
        yield Server(row["svname"], row["addr"], is_up, succeeded, eresp, int(row["bout"]))


def state_file(lines: Iterable[str]) -> str:
    """The states of the servers for the next worker, in HAProxy's format.

    Without the servers in maintenance: their routes do not have them, but the next configuration may.
    """
    head: list[str] = []
    kept = []
    for line in lines:
        if line.startswith("# be_id "):
            head = line[2:].split()
        cells = line.split()
        if len(cells) != len(head) or not int(cells[head.index("srv_admin_state")]) & _MAINTENANCE:
            kept.append(line)
    return "".join(kept)


def states(lines: Iterable[str]) -> Iterator[tuple[Place, State]]:
    """The administrative state of each server."""
    head: list[str] = []
    for line in lines:
        if line.startswith("# be_id "):
            head = line[2:].split()
        elif len(cells := line.split()) == len(head) > 1:
            row = dict(zip(head, cells, strict=True))
            host, admin = row["srv_addr"], int(row["srv_admin_state"])
            address = f"[{host}]:{row['srv_port']}" if ":" in host else f"{host}:{row['srv_port']}"
            yield (
                Place(row["be_name"], row["srv_name"]),
                State(address, bool(admin & _MAINTENANCE), bool(admin & _DRAINED)),
            )


_COUNTERS = ("stot", "scur", "econ", "eresp", "wretr", "wredis")
_READ = ("pxname", "svname", "status", "addr", "bout", *_COUNTERS)


def _rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The needed cells of each row of a table, without a last row that is incomplete because the worker ended."""
    width, places = 0, [0]
    for line in lines:
        if line.startswith("# pxname,"):
            head = line[2:].rstrip("\n").split(",")
            # Without these counters, of another version of HAProxy, there are no rows: the agent works on without them.
            width = len(head) if set(_READ) <= set(head) else 0
            places = [head.index(name) for name in _READ] if width else []
        elif width:
            cells = (_QUOTED.sub("", line) if '"' in line else line).rstrip("\n").split(",")
            if len(cells) == width:
                yield {name: cells[place] or "0" for name, place in zip(_READ, places, strict=True)}
