"""Memory for held connections."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

from bench.lab import POD_PORT, Service
from bench.mixes import THREE
from bench.namespaces import client_command
from bench.peers import KERNEL, PEERS, PLAIN, Peer
from bench.processes import held_by, memory_kib
from bench.session import Session, in_turns, say
from bench.stats import Spread, figures, ratios, table

_PATIENCE = 30

_TEXT = """
Growth of the proxy's processes (proportional set size) from {first:,} to {last:,} held connections, for each
1,000. Each connection has carried a few bytes and is idle. The kernel's memory for sockets and for connection tracking
is not included.
"""


def measure(session: Session) -> str:
    """The section."""
    count, rounds = session.scale.held_connections, session.scale.held_rounds
    peers = [peer for peer in session.available(PEERS) if peer not in KERNEL]
    say(f"memory: {rounds} rounds of {len(peers)} times {count + count // 2} held connections")
    found = in_turns(peers, rounds, lambda peer: _mebibytes(session, peer, count))
    rows = [
        [peer.name, f"{figures(Spread.of(own).median)} MiB", "1" if peer is PLAIN else str(ratios(own, found[PLAIN]))]
        for peer, own in found.items()
    ]
    rows += [[peer.name, "in the kernel", ""] for peer in session.available(KERNEL)]
    header = ["memory", "per 1,000 held connections", "ratio"]
    text = _TEXT.strip().format(first=count // 2, last=count + count // 2)
    return f"{text}\n\n{table(header, rows + session.rows_of_missing(PEERS, len(header)))}"


def _mebibytes(session: Session, peer: Peer, count: int) -> float:
    """For each 1,000 connections."""
    # A new process each time: memory of closed connections is kept for later ones.
    with peer.serve(session.lab, THREE) as service:
        assert service.process is not None
        pods = session.lab.room("proxies").pods
        first = count // 2
        with _held(service, first):
            _await_held(pods, first)
            before = memory_kib(service.process)
            with _held(service, count):
                _await_held(pods, first + count)
                after = memory_kib(service.process)
    return (after - before) / count * 1000 / 1024


@contextlib.contextmanager
def _held(service: Service, count: int) -> Iterator[None]:
    """Hold this many more connections."""
    command = client_command("hold", service.port, count)
    with service.namespace.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None and client.stdout is not None
        if client.stdout.readline() != "held\n":
            raise RuntimeError(f"could not hold {count} connections")
        yield
        client.stdin.close()


def _await_held(pods: int, count: int) -> None:
    """Wait until the pods have all of them."""
    end = time.monotonic() + _PATIENCE
    while (held := held_by(pods, POD_PORT)) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{held} of {count} connections reached the pods within {_PATIENCE} s")
        time.sleep(0.05)
