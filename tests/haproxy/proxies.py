"""Real HAProxy processes that serve a rendered configuration on loopback."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.render.config import Pool, ProxyConfig, Server
from engine.render.haproxy import ready_path, render
from engine.render.placement import NOBODY
from engine.render.slots import slot_names
from states import OnEmptyRoute
from tests.waiting import PATIENCE, await_that

HAPROXY = Path(__file__).parents[1] / "tools" / "haproxy"


POD_USERS = NOBODY, 1_000_650_000
"""The user of a pod: that of the image, and one of the range that OpenShift gives to a namespace."""

CONFIG_FILE = "haproxy.cfg"
MASTER_SOCKET = "master.sock"


def config_of(*routes: Pool, **settings: object) -> ProxyConfig:
    """A configuration for these routes on ports that nobody else uses."""
    ports = {"split_port": free_port(), "ops_port": free_port()}
    defaults = {"on_empty_route": OnEmptyRoute.REDISTRIBUTE, "idle_seconds": 3600, "drain_seconds": 60}
    return ProxyConfig(routes, **{**defaults, **ports, **settings})  # type: ignore[arg-type]


def slot_of(config: ProxyConfig, route: int) -> str:
    """HAProxy's backend of a route."""
    return slot_names(len(config.routes_by_slot))[config.routes_by_slot.index(config.routes[route])]


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections, which would take it away again.

    Each process of pytest-xdist has ports of its own, and gives none a second time before it has given all: one that
    was given may not be bound yet.
    """
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError("unreachable: the ports repeat for ever")


def _ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = list(range(20000 + worker, 32000, workers))
    # Other runs of the tests on this machine begin elsewhere.
    random.shuffle(ports)
    return itertools.cycle(ports)


_PORTS = _ports()


class Proxy:
    """One running HAProxy, as its clients, the kubelet and Prometheus see it."""

    def __init__(self, config: ProxyConfig, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.config = config
        self.process = process
        self._folder = folder
        self._log = folder / "log"
        self._routes = {server: number for number, route in enumerate(config.routes) for server in route.servers}

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection((host, self.config.split_port), timeout=PATIENCE)

    def ask(self, host: str = "127.0.0.1") -> Server | None:
        """The pod that answers a new connection, None if the proxy closes it."""
        with self.connect(host) as connection:
            return greeted_by(connection)

    def take(self, count: int) -> list[int | None]:
        """The routes of as many connections, one after the other; None for each that the proxy closed."""
        answers = (self.ask() for _ in range(count))
        return [None if server is None else self._routes[server] for server in answers]

    def get(self, path: str) -> int:
        """The HTTP status of a path on the ops port."""
        return self.fetch(path)[0]

    def fetch(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.config.ops_port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"HAProxy ended with {self.process.returncode}: {self._log.read_text()}")
        if not self.heeds_signals():
            return False
        with contextlib.suppress(OSError):
            return self.get(ready_path(render(self.config).digest)) == http.HTTPStatus.OK
        return False

    def heeds_signals(self) -> bool:
        """Whether the master is done starting: its worker serves earlier, but the signals of that time get lost."""
        return bool(int(self.status()["SigCgt"], 16) >> (signal.SIGUSR2 - 1) & 1)

    def status(self) -> dict[str, str]:
        """What the kernel says of the master process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}

    def servers_up(self, route: int) -> int:
        _, metrics = self.fetch("/metrics?scope=backend")
        slot = slot_of(self.config, route)
        found = re.search(rf'^haproxy_backend_active_servers{{proxy="{slot}"}} (\d+)$', metrics, re.MULTILINE)
        assert found, metrics
        return int(found[1])

    def clients(self, figure: str = "current_sessions") -> int:
        """A figure of the connections that are split: how many are open, or have been (`sessions_total`)."""
        _, metrics = self.fetch("/metrics?scope=frontend")
        found = re.search(rf'^haproxy_frontend_{figure}{{proxy="split"}} (\d+)$', metrics, re.MULTILINE)
        assert found, metrics
        return int(found[1])

    def await_servers_up(self, route: int, count: int) -> None:
        await_that(lambda: self.servers_up(route) == count, f"{count} servers of route {route} are up")

    def command(self, command: str) -> str:
        """What the master process answers; a command for its worker begins with `@1`."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile() as answer:
            connection.connect(str(self._folder / MASTER_SOCKET))
            connection.settimeout(PATIENCE)
            connection.sendall(f"{command}\n".encode())
            # A master passes a command on to its worker and waits for the next one.
            connection.shutdown(socket.SHUT_WR)
            return answer.read()

    def count(self) -> int:
        """Which connection, by the worker's count, was the last."""
        start = re.search(r"value=<(\d+)>", self.command("@1 get var proc.start"))
        counter = re.search(r" gpc0=(\d+)$", self.command("@1 show table counter"), re.MULTILINE)
        assert start
        # Without a first connection there is no entry.
        return int(start[1]) + (int(counter[1]) if counter else 0)

    def reload(self, config: ProxyConfig) -> None:
        """Serves another configuration by another worker, which goes on counting where this one is."""
        text = f"{render(config).text}\nglobal\n  set-var proc.start int({self.count()})\n"
        (self._folder / CONFIG_FILE).write_text(text)
        answer = self.command("reload")
        assert answer.startswith("Success=1"), answer
        self.config = config
        self.await_handover()

    def await_handover(self) -> None:
        """Until no former worker listens: it goes on until it is run after a reload, and counts what it accepts."""

        def listens() -> bool:
            workers = re.findall(r"^(\d+) +worker +(\d+) ", self.command("show proc"), re.MULTILINE)
            # After a reload that failed, HAProxy 3.2 lists the present worker as an old one.
            newest = min((int(reloads) for _, reloads in workers), default=0)
            return any(is_listening(process) for process, reloads in workers if int(reloads) > newest)

        await_that(lambda: not listens(), "the former workers do not listen any more")

    def stop(self) -> None:
        """Asks it to stop as the kubelet does, and returns when it accepts no more connections."""
        # Earlier, the signal would end the master. A second one could meet the worker at its end, and kill it.
        await_that(self._has_started, "the master has started")
        self.process.send_signal(signal.SIGUSR1)
        await_that(self._refuses, "a stopping proxy refuses new connections")

    def _has_started(self) -> bool:
        return b"Loading success" in self._log.read_bytes()

    def _refuses(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            # It stopped listening while this connection waited to be accepted.
            return False
        return False


def is_listening(process: str) -> bool:
    """Whether a process in the network of the calling thread has a TCP socket that listens."""
    files = [Path(f"/proc/thread-self/net/{kind}") for kind in ("tcp", "tcp6")]
    rows = [row.split() for file in files if file.exists() for row in file.read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    with contextlib.suppress(OSError):  # It has ended.
        for file in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(file.readlink()) in listening:
                    return True
    return False


def greeted_by(connection: socket.socket) -> Server | None:
    with contextlib.suppress(ConnectionResetError), connection.makefile("r") as lines:
        if line := lines.readline():
            address, port = line.split()
            return Server(address, int(port))
    return None


def windows(taken: Sequence[int | None], width: int) -> Iterator[Counter[int | None]]:
    """The routes that were counted in each stretch of `width` successive connections."""
    return (Counter(taken[start : start + width]) for start in range(len(taken) - width + 1))


@contextlib.contextmanager
def running(
    config: ProxyConfig, more: str = "", pod_user: int | None = None, descriptors: int | None = None
) -> Iterator[Proxy]:
    """A ready proxy, gone when the context ends.

    `more` is configuration beyond the rendered one, `descriptors` the limit of open files. With a `pod_user` it runs as
    this one in a pod.
    """
    with tempfile.TemporaryDirectory(prefix="kanary-haproxy-") as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        (folder / CONFIG_FILE).write_text(render(config).text)
        (folder / "more.cfg").write_text(more + "\n")
        at = Path("/mnt") if pod_user else folder
        as_pod = ["--as-pod", str(pod_user), str(folder)] if pod_user else []
        command: list[str | Path] = [HAPROXY, *as_pod, "-W", "-db", "-dW"]
        if descriptors is not None:
            command = ["prlimit", f"--nofile={descriptors}", *command]
        command += ["-S", folder / MASTER_SOCKET] if not pod_user else []
        command += ["-f", at / CONFIG_FILE, "-f", at / "more.cfg"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            proxy = Proxy(config, process, folder)
            await_that(proxy.is_ready, "the proxy is ready")
            yield proxy
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        # Its worker ends with it.
        process.kill()
        process.wait()
        raise
