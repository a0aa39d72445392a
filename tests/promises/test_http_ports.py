"""Promise 7: whatever clients do to an HTTP port, its probe is answered."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from engine.render.config import Pool, Server
from kanary.web.probes import probes
from kanary.web.server import HttpServer, listen_on_loopback
from tests.agent.live import live
from tests.apiserver import ApiServer
from tests.dashboard.stage import Stage
from tests.haproxy.proxies import config_of
from tests.integration.scene import PROCESSES
from tests.tables import Table, Tell
from tests.waiting import PATIENCE

PROBES = Table(
    "Promise 7: probes of an HTTP port", ("port of", "clients", "connections", "probes", "median", "slowest", "failed")
)
IS_FULL = os.environ.get("KANARY_PROMISES") == "full"
ROUNDS = 20 if IS_FULL else 8
"""More than the probes that have to fail, one after the other, before a kubelet restarts the operator."""
ATTACKERS = "127.0.0.66"
"""The address of the attackers; the probes come from 127.0.0.1, as a kubelet's from the node."""
SILENT = 1_000
SLOW = 200
MANY = 100
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


def liveness() -> dict[str, int]:
    """The limits after which a kubelet restarts the operator, by the manifests."""
    documents = yaml.safe_load_all(Path("manifests/kanary.yml").read_text(encoding="utf-8"))
    (found,) = (each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment")
    return dict(found["containers"][0]["livenessProbe"])


LIVENESS = liveness()


class Attack:
    """Connections of one host to one port, and threads that use them until it ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self.connections = 0

    def dial(self) -> socket.socket | None:
        client = socket.socket()
        client.settimeout(5)
        with contextlib.suppress(OSError):
            client.bind((ATTACKERS, 0))
            client.connect(("127.0.0.1", self._port))
            self.connections += 1
            self._open.append(client)
            return client
        client.close()
        return None

    def send(self, client: socket.socket | None, content: bytes) -> None:
        with contextlib.suppress(OSError):
            if client:
                client.send(content)

    def repeat(self, act: Callable[[], object]) -> None:
        """Does this again and again, on a thread."""

        def run() -> None:
            while not self._over.is_set():
                act()

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        for client in self._open:
            client.close()

    def close_all_but(self, count: int) -> None:
        while len(self._open) > count:
            client = self._open.pop(0)
            with contextlib.suppress(OSError):
                # A reset, so that the port can be used again at once.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


def silent(attack: Attack) -> None:
    for _ in range(SILENT):
        attack.dial()


def slow(attack: Attack) -> None:
    clients = [attack.dial() for _ in range(SLOW)]
    places = itertools.cycle(clients)

    def write_a_byte() -> None:
        attack.send(next(places), b"G")
        time.sleep(0.001)

    attack.repeat(write_a_byte)


def huge_headers(attack: Attack) -> None:
    attack.repeat(lambda: attack.send(renewed(attack), REQUEST[:-2] + b"X-A: " + b"a" * 200_000))


def huge_bodies(attack: Attack) -> None:
    head = b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n"
    attack.repeat(lambda: attack.send(renewed(attack), head + b"a" * 200_000))


def pipelined(attack: Attack) -> None:
    """Requests whose answers are not read."""
    for _ in range(MANY):
        attack.send(attack.dial(), REQUEST * 100)


def half_open(attack: Attack) -> None:
    for _ in range(SILENT // 2):
        if client := attack.dial():
            attack.send(client, REQUEST[:20])
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)


def flood(attack: Attack) -> None:
    """New connections all the time."""
    attack.repeat(lambda: renewed(attack))


def renewed(attack: Attack) -> socket.socket | None:
    attack.close_all_but(MANY)
    return attack.dial()


def everything(attack: Attack) -> None:
    for each in (silent, slow, pipelined, half_open, huge_headers, huge_bodies, flood):
        each(attack)


ATTACKS = (silent, slow, huge_headers, huge_bodies, pipelined, half_open, flood, everything)


# The servers


def serve_probes(port: Connection) -> None:
    """The operator's server, with a page of metrics as large as that of 1,000 Kanaries."""
    page = random.Random(1).randbytes(2_900_000)
    server = HttpServer(probes(list, lambda: page, "text/plain"), listen_on_loopback(0))
    server.start()
    port.send(server.port)
    threading.Event().wait()


@contextmanager
def operator(_: Path) -> Iterator[tuple[int, str]]:
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=serve_probes, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv(), "/healthz"
    finally:
        process.kill()
        process.join()


@contextmanager
def proxys_agent(_: Path) -> Iterator[tuple[int, str]]:
    """The agent of a proxy, with HAProxy."""
    server = Server("127.77.0.1", 9)
    with live(config_of(Pool("bad:http", 100, (server,)))) as proxy:  # type: ignore[arg-type]
        yield proxy.report_port, "/healthz"


@contextmanager
def dashboard(folder: Path) -> Iterator[tuple[int, str]]:
    """The dashboard on a user's machine, asked by a page of another site."""
    with ApiServer() as server, ExitStack() as stack, Stage(server, folder, stack).dashboard() as found:
        yield int(urlsplit(found.new_link()).port or 0), "/"


PORTS: dict[str, Callable[[Path], AbstractContextManager[tuple[int, str]]]] = {
    "operator": operator,
    "agent": proxys_agent,
    "dashboard": dashboard,
}


@dataclass(frozen=True, slots=True)
class Probe:
    seconds: float
    control: float
    """Of a probe of a server that nobody attacks, made next."""
    failed: bool

    @property
    def is_slow(self) -> bool:
        """Whether a kubelet would have given it up, and not because this machine is busy."""
        return self.seconds >= max(LIVENESS["timeoutSeconds"], 10 * self.control)


def status_of(port: int, path: str) -> int:
    """Of a probe as a kubelet makes it, on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def probe(port: int, path: str, usual: int) -> tuple[float, bool]:
    """The seconds of a probe, and whether its answer is another one than usual. One that takes long is slow only."""
    began, failed = time.monotonic(), False
    with contextlib.suppress(TimeoutError):
        try:
            failed = status_of(port, path) != usual
        except (ConnectionError, http.client.HTTPException):
            failed = True
    return time.monotonic() - began, failed


@pytest.mark.parametrize("of", PORTS)
def test_probes_are_answered_whatever_clients_do(of: str, tmp_path: Path, tell: Tell) -> None:
    with PORTS[of](tmp_path) as (port, path), operator(tmp_path) as (unharmed, _):
        usual = status_of(port, path)
        for attack_by in ATTACKS:
            attack = Attack(port)
            try:
                attack_by(attack)
                found = list[Probe]()
                for _ in range(ROUNDS):
                    seconds, failed = probe(port, path, usual)
                    found.append(Probe(seconds, probe(unharmed, "/healthz", 200)[0], failed))
            finally:
                attack.end()
            kind, failures = attack_by.__name__.replace("_", " "), sum(each.failed for each in found)
            seconds_of = [each.seconds for each in found]
            median, slowest = (f"{each * 1000:.0f} ms" for each in (statistics.median(seconds_of), max(seconds_of)))
            tell(PROBES, of, kind, attack.connections, ROUNDS, median, slowest, failures)
            assert attack.connections, f"{kind}: no attack"
            assert failures == 0, f"{kind}: {found}"
            assert slow_in_a_row(found) < LIVENESS["failureThreshold"], f"{kind}: {found}"


def slow_in_a_row(found: Sequence[Probe]) -> int:
    """How many probes, one after the other, a kubelet would have given up."""
    slow = itertools.groupby(each.is_slow for each in found)
    return max((len([*group]) for is_slow, group in slow if is_slow), default=0)
