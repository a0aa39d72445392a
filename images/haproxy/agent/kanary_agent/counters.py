"""What HAProxy has counted for its routes and their servers.

Tried on 3.0.11, in TCP mode. `eresp` counts a connection that its server has reset, whenever that is. It stays as it is
where the client resets, where either side closes first, or only its half, and where a time runs out (`srv_abrt` counts
half-closed connections whose time runs out as well). A server that closes without a word is in no counter. `bout`,
the bytes that came from the server, is counted when a connection has ended: those that are open do not move it. `stot`
counts attempts to connect, of which `wretr` and `wredis` came to nothing.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SUMMARY = ("@1 show info", "@1 show stat -1 2 -1")
STATES = "@1 show servers state"

# HAProxy quotes a text with commas, such as that of a failed check.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_OUT = 1
_DRAINED = 8


class Server(NamedTuple):
    """A server of a route, and how its connections ended since its worker began."""

    name: str
    address: str
    is_up: bool
    """Whether its checks pass. One that is drained may be up."""
    well: int
    reset: int
    sent: int
    """Bytes that came from it, of connections that have ended."""


class Place(NamedTuple):
    """Where a server is in HAProxy's configuration; as text, as HAProxy's commands have it."""

    route: str
    name: str

    def __str__(self) -> str:
        return f"{self.route}/{self.name}"


class State(NamedTuple):
    """What a server was told to do."""

    address: str
    is_out: bool
    """It is in maintenance: for the route it is not there."""
    is_drained: bool
    """It takes no connections, and is there."""


def servers_of(route: str) -> str:
    """The command that tells of the route's servers."""
    return f"@1 show stat {route} 4 -1"


def summary(answer: str) -> tuple[str, dict[str, int]]:
    """Which worker it is, and for each route how many connections its servers have reset. No worker has no name."""
    worker = " ".join(re.findall(r"^(?:Pid|Start_time_sec): (\d+)", answer, re.MULTILINE))
    return worker, {row["pxname"]: int(row["eresp"]) for row in _rows(answer.splitlines())}


def servers(lines: Iterable[str]) -> Iterator[Server]:
    """The servers of a route in an answer, one after the other: those of 5,000 servers are a megabyte."""
    for row in _rows(lines):
        if row["status"].startswith("MAINT"):
            # It has left the route, and only holds what it held.
            continue
        stot, scur, econ, eresp, wretr, wredis = (int(row[name]) for name in _COUNTED)
        well = stot - scur - econ - eresp - wretr - wredis
        is_up = row["status"].startswith(("UP", "DRAIN", "no check"))
        yield Server(row["svname"], row["addr"], is_up, well, eresp, int(row["bout"]))


def states(lines: Iterable[str]) -> Iterator[tuple[Place, State]]:
    """What each server was told to do."""
    head: list[str] = []
    for line in lines:
        if line.startswith("# be_id "):
            head = line[2:].split()
        elif len(cells := line.split()) == len(head) > 1:
            row = dict(zip(head, cells, strict=True))
            host, told = row["srv_addr"], int(row["srv_admin_state"])
            address = f"[{host}]:{row['srv_port']}" if ":" in host else f"{host}:{row['srv_port']}"
            yield Place(row["be_name"], row["srv_name"]), State(address, bool(told & _OUT), bool(told & _DRAINED))


_COUNTED = ("stot", "scur", "econ", "eresp", "wretr", "wredis")
_WANTED = ("pxname", "svname", "status", "addr", "bout", *_COUNTED)


def _rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The cells that matter of each row of a table. A row that is cut short, by the end of its worker, is none."""
    width, places = 0, [0]
    for line in lines:
        if line.startswith("# pxname,"):
            head = line[2:].rstrip("\n").split(",")
            # A HAProxy that counts otherwise has no rows: the agent has other things to do beside reading them.
            width = len(head) if set(_WANTED) <= set(head) else 0
            places = [head.index(name) for name in _WANTED] if width else []
        elif width:
            cells = (_QUOTED.sub("", line) if '"' in line else line).rstrip("\n").split(",")
            if len(cells) == width:
                yield {name: cells[place] or "0" for name, place in zip(_WANTED, places, strict=True)}
