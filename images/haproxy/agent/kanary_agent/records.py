"""Reads HAProxy's records of connections that did not end normally, from a pipe.

HAProxy never waits: it drops what does not fit into the pipe. Several thousand records fit, those of former workers
included, and they stay while the agent restarts.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import NamedTuple

PIPE = "failures.pipe"
PIPE_BYTES = 2**20
"""The most that a pipe of an ordinary user holds: about 8,000 records. Empty, it takes no memory."""
STEP_BYTES = 2**16
"""How much one step reads: about 500 records, 4 ms."""
_FIELDS = 12


class Record(NamedTuple):
    """HAProxy's record of a connection (`_FAILURE_FORMAT` of `engine/render/haproxy.py`)."""

    process: str
    """The worker's process."""
    number: int
    """Number of the connection in this process, modulo 2^32, in the order in which they began."""
    client: str
    slot: str
    server: str
    state: str
    """HAProxy's code for what ended the connection, and in which phase: section 8.5 of its configuration manual."""
    attempts: int
    milliseconds: int
    sent: int
    """Bytes to the client."""
    open: int
    """How many connections to the server this process still had."""
    error: str
    """HAProxy's text about the connection to the server."""

    @property
    def is_unaccepted(self) -> bool:
        """Whether no server accepted the connection while its client waited: HAProxy counts it in `econ`."""
        by, phase = self.state[:1], self.state[1:2]
        return phase in "QC" and by != "C"

    @property
    def is_reset(self) -> bool:
        """Whether the server broke off the connection: HAProxy counts it in `eresp`."""
        return self.state.startswith("S") and not self.is_unaccepted

    @property
    def is_lost(self) -> bool:
        """Whether the server has acknowledged nothing for too long."""
        return self.is_reset and "ETIMEDOUT" in self.error


class Pipe:
    """The pipe in `folder`, which HAProxy's container opens as well."""

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, PIPE)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # For writing as well: without a writer, it would be at its end while HAProxy restarts.
        self._file = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        with contextlib.suppress(OSError):
            # The user has too many large pipes on this node.
            fcntl.fcntl(self._file, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._rest = b""
        self.is_empty = False
        """Whether the last step has read all records."""

    def step(self) -> Iterator[Record]:
        """The next records that have arrived."""
        try:
            found = os.read(self._file, STEP_BYTES)
        except BlockingIOError:
            found = b""
        self.is_empty = len(found) < STEP_BYTES
        *lines, self._rest = (self._rest + found).split(b"\n")
        for line in lines:
            if record := read_record(line.decode(errors="replace")):
                yield record


def read_record(line: str) -> Record | None:
    """A record of HAProxy, or None if the line is none."""
    fields = line.rstrip("\n").split(" ", _FIELDS - 1)
    if len(fields) < _FIELDS:
        return None
    process, number, host, port, slot, server, state, retries, milliseconds, sent, open_, error = fields
    try:
        # A plus sign marks that HAProxy has tried another server.
        attempts = int(retries.lstrip("+")) + 1
        figures = int(number), int(milliseconds.lstrip("+")), int(sent.lstrip("+")), int(open_)
    except ValueError:
        return None
    # The name of a server is its address and port, without brackets, and the header that it receives, if any.
    name = server.partition("_")[0]
    address = "" if server == "<NOSRV>" else _address(*name.rpartition(":")[::2])
    return Record(process, figures[0], _address(host, port), slot, address, state, attempts, *figures[1:], error)


def _address(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
