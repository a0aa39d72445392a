"""Reads what HAProxy reports about slots, which serve the routes, and their servers.

Observed with 3.0.11 in TCP mode: `eresp` counts a connection that its server resets, at any time. It does not count
resets by the client, closes by either side, half-closes and time-outs (`srv_abrt` also counts half-closed connections
that time out). No counter shows a server that closes without sending a byte. `bout`, the bytes received from the
server, changes only when a connection ends. `stot` of a server counts attempts to connect, including those that failed
(`wretr` and `wredis`); `stot` of a slot counts connections, and `econ` those that no server accepted. `act` and
`bck` of a slot are the numbers of its servers and of its backups that are up, while `act` of a server is always 1.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kanary_agent import texts

SUMMARY = ("@1 show info", f"@1 get var {texts.SLOTS}", f"@1 get var {texts.REVISION}", "@1 show stat -1 3 -1")
ROUND = (f"@1 get var {texts.SPLIT}", f"@1 get var {texts.TURNS}")
STATES = "@1 show servers state"
SERVERS = "@1 show stat -1 4 -1"

# HAProxy quotes a text with commas, such as that of a failed check.
_CELL = re.compile(r'(?:^|,)("(?:[^"]|"")*"|[^,]*)')
_MAINTENANCE = 1
_DRAINED = 8


class Counts(NamedTuple):
    """How connections have ended."""

    connections: int
    unconnected: int
    """Connections that no server accepted."""
    reset: int
    """Connections that their server has reset, perhaps after an answer."""
    retries: int
    """Further attempts to connect to the same server."""
    redispatches: int
    """Further attempts to connect to another server."""

    @property
    def failed(self) -> int:
        """Connections that failed (docs/evidence.md). None is counted twice."""
        return self.unconnected + self.reset


class SlotFigures(NamedTuple):
    """A slot as its worker reports it."""

    up: int
    """Servers that receive connections, with those of other zones, which may have to wait for the others to fail."""
    unchanged: int
    """For how many seconds the slot has been up, or down."""
    open: int
    """Open connections."""
    counts: Counts
    """Since the worker started."""


class Load(NamedTuple):
    """How many connections a worker holds, and how many it may hold; zeros if it does not say."""

    connections: int
    max_connections: int


class Summary(NamedTuple):
    """All slots of a worker."""

    worker: str
    """Its identifier; empty without a worker."""
    load: Load
    slots: dict[str, SlotFigures]
    backends: dict[str, str]
    """The backend of each slot that is not free, as in `myapp-v1:http`."""
    watched: int = 0
    """The revision of the weights whose connections are counted; 0 if none is."""
    is_redistributing: bool = False
    """Whether the connections of a route without a server may go to others that have one."""
    next_number: int = 0
    """The number of the next connection."""

    @property
    def revision(self) -> int:
        """The watched revision while connections are split by its weights, otherwise 0."""
        return 0 if self.is_redistributing else self.watched

    @property
    def has_empty_slot(self) -> bool:
        """Whether a route has no server that receives connections."""
        return any(not self.slots[slot].up for slot in self.backends if slot in self.slots)


class Health(NamedTuple):
    """What HAProxy reports about a server, in its own words."""

    address: str
    status: str
    """UP, DOWN or DRAIN, perhaps with the number of checks that have passed or failed."""
    unchanged: int
    """For how many seconds."""
    check: str
    """The result of the last check, such as L4OK or L4CON; INI before the first one."""
    text: str
    """What the check has found."""

    @property
    def is_reached(self) -> bool:
        """Whether it receives connections, and its last check has passed. (Without checks, there is no result.)"""
        return self.is_up and (not self.check or self.check.endswith("OK"))

    @property
    def is_up(self) -> bool:
        """Whether it receives connections."""
        return self.status.startswith(("UP", "no check"))


class Server(NamedTuple):
    """A server of a slot, and how its connections have ended since the worker started."""

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

    slot: str
    name: str

    def __str__(self) -> str:
        return f"{self.slot}/{self.name}"


class State(NamedTuple):
    """The administrative state of a server."""

    address: str
    is_in_maintenance: bool
    """The server does not belong to the slot's route."""
    is_drained: bool
    """The server belongs to the slot's route and receives no new connections."""


def servers_of(slot: str) -> str:
    """The command that returns the counters of the slot's servers."""
    return f"@1 show stat {slot} 4 -1"


def summary(answer: str) -> Summary:
    """The answer of one worker to the commands of `SUMMARY`."""
    worker = " ".join(re.findall(r"^(?:Pid|Start_time_sec): (\d+)", answer, re.MULTILINE))
    number = re.search(r"^CumReq: (\d+)", answer, re.MULTILINE)
    variables = texts.variables(answer)
    backends = texts.backends_by_slot(variables.get(texts.SLOTS, ""))
    rows = _rows(answer.splitlines(), ("pxname", *_SLOT))
    # The names of slots are shorter than those of the other backends, which have no servers.
    slots = {row["pxname"]: _figures(row) for row in rows if len(row["pxname"]) <= _LONGEST_SLOT}
    watched = int(variables.get(texts.REVISION, 0))
    return Summary(worker, load(answer), slots, backends, watched, next_number=int(number[1]) if number else 0)


def is_redistributing(summary: Summary, answer: str) -> bool:
    """Whether connections may be redistributed, by the worker's summary and its answer to the commands of `ROUND`."""
    variables = texts.variables(answer)
    length = len(next(iter(summary.backends), " "))
    in_turn = texts.slots_in_turn(variables.get(texts.SPLIT, ""), length)
    has_servers = {summary.slots[slot].up > 0 for slot in in_turn & summary.slots.keys()}
    # HAProxy leaves this state with the first connection that finds all routes up.
    return len(has_servers) > 1 and variables.get(texts.TURNS) == texts.COUNTING_ALL


def load(answer: str) -> Load:
    """The load of one worker, in answers to `show info` and `show stat` that have its frontends."""
    head = re.search(r"^# (pxname,.*)$", answer, re.MULTILINE)
    rows = re.findall(r"^split\d*,FRONTEND,.*$", answer, re.MULTILINE)
    maximum = re.search(r"^Maxconn: (\d+)", answer, re.MULTILINE)
    if not head or not rows or not maximum:
        return Load(0, 0)
    ports = (dict(zip(head[1].split(","), row.split(","), strict=False)) for row in rows)
    loads = [Load(int(cells["scur"]), int(cells["slim"])) for cells in ports]
    loads.append(Load(sum(load.connections for load in loads), int(maximum[1])))
    # That of the port, or of all, which can take the fewest more.
    return min(loads, key=lambda load: load.max_connections - load.connections)


def _figures(row: dict[str, str]) -> SlotFigures:
    act, bck, lastchg, scur, *counts = (int(row[name] or 0) for name in _SLOT)
    return SlotFigures(act + bck, lastchg, scur, Counts(*counts))


def summaries(answer: str) -> list[Summary]:
    """The answers of several workers, one after the other."""
    return [found for part in answer.split("Name: HAProxy\n") if (found := summary(part)).worker]


def health(lines: Iterable[str]) -> Iterator[Health]:
    """The servers of a route in an answer, without those that do not belong to it any more."""
    for row in _rows(lines, ("addr", "status", "lastchg", "check_status", "check_desc", "last_chk")):
        if not row["status"].startswith("MAINT"):
            words = (row["check_desc"], row["last_chk"])
            # An asterisk marks a server that is being checked.
            check = row["check_status"].removeprefix("* ")
            text = ": ".join(word for word in words if word)
            yield Health(row["addr"], row["status"], int(row["lastchg"] or 0), check, text)


def servers(lines: Iterable[str]) -> Iterator[Server]:
    """The servers of a slot in an answer, as an iterator: the answer for 5,000 servers is a megabyte."""
    for row in _rows(lines, _SERVER):
        if row["status"].startswith("MAINT"):
            # It was removed from the route and only keeps its open connections.
            continue
        stot, scur, econ, eresp, wretr, wredis, bout = (int(row[name] or 0) for name in _COUNTERS)
        succeeded = stot - scur - econ - eresp - wretr - wredis
        is_up = row["status"].startswith(("UP", "DRAIN", "no check"))
        yield Server(row["svname"], row["addr"], is_up, succeeded, eresp, bout)


def unchecked(lines: Iterable[str]) -> Iterator[Place]:
    """The servers whose checks are disabled."""
    for row in _rows(lines, ("pxname", "svname", "status")):
        if row["status"] == "no check":
            yield Place(row["pxname"], row["svname"])


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


_COUNTERS = ("stot", "scur", "econ", "eresp", "wretr", "wredis", "bout")
_SERVER = ("svname", "status", "addr", *_COUNTERS)
_LONGEST_SLOT = 2
_SLOT = ("act", "bck", "lastchg", "scur", "stot", "econ", "eresp", "wretr", "wredis")


def _rows(lines: Iterable[str], names: Sequence[str]) -> Iterator[dict[str, str]]:
    """These cells of each row of a table, without a last row that is incomplete because the worker ended."""
    width, places = 0, [0]
    for line in lines:
        if line.startswith("# pxname,"):
            head = line[2:].rstrip("\n").split(",")
            # Without these counters, of another version of HAProxy, there are no rows: the agent works on without them.
            width = len(head) if set(names) <= set(head) else 0
            places = [head.index(name) for name in names] if width else []
        elif width:
            cells = _cells(line.rstrip("\n"))
            if len(cells) == width:
                yield {name: cells[place] for name, place in zip(names, places, strict=True)}


def _cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    return [cell[1:-1].replace('""', '"') if cell[:1] == '"' else cell for cell in _CELL.findall(line)]
