"""The environment of the proxies: namespaces, pods and ports."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.namespaces import Namespace, client_command, namespace
from bench.programs import Programs

POD_PORT = 9000
STREAM_PORT = 5201
# Below the ports of outgoing connections.
_FIRST_PORT = 10_000
_PATIENCE = 30

_PODS = """
daemon off;
user root;
worker_processes 2;
pid pods.pid;
error_log stderr crit;
events {{ worker_connections 8000; }}
http {{
  access_log off;
  keepalive_timeout 0;
  client_header_timeout 600s;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {{
    listen 0.0.0.0:{port} backlog=4096;
    location / {{ return 200 "ok"; }}
    location /who {{ return 200 "$server_addr"; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Service:
    """Something that splits connections to a port of 127.0.0.1; without a process if it is the kernel."""

    namespace: Namespace
    port: int
    process: int | None


@dataclass(frozen=True, slots=True)
class Room:
    """A namespace with pods in it: nginx, which answers at every address of 127/8."""

    namespace: Namespace
    pods: int


class Lab:
    """The environment of all measured processes, removed when the context ends."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self._ports = count(_FIRST_PORT)
        self._stack = contextlib.ExitStack()
        self._rooms: dict[str, Room] = {}

    def __enter__(self) -> Self:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kanary-bench-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def port(self) -> int:
        """An unused port: nothing else runs in the namespaces."""
        return next(self._ports)

    def file(self, name: str, text: str) -> Path:
        """A new file with this text."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / name).write_text(text)
        return folder / name

    def room(self, name: str) -> Room:
        """The room of this name, created on first use.

        The kernel's ways of splitting get rooms of their own: the tracking of connections that they need would
        burden the others, too.
        """
        if name not in self._rooms:
            inside = self._stack.enter_context(namespace())
            config = self.file("pods.conf", _PODS.format(port=POD_PORT))
            command = [self.programs.nginx, "-p", str(config.parent), "-e", "stderr", "-c", str(config)]
            pods = self._stack.enter_context(self.served(inside, command, POD_PORT))
            assert pods.process is not None
            self._rooms[name] = Room(inside, pods.process)
        return self._rooms[name]

    @contextlib.contextmanager
    def served(
        self, inside: Namespace, command: Sequence[str | Path], port: int, pod_port: int = POD_PORT
    ) -> Iterator[Service]:
        """A process that is ready at this port."""
        with timed_start(inside, command, port, pod_port) as (service, _):
            yield service


@contextlib.contextmanager
def timed_start(
    inside: Namespace, command: Sequence[str | Path], port: int, pod_port: int = POD_PORT
) -> Iterator[tuple[Service, float]]:
    """A process that is ready at this port, and the seconds from its start until then.

    Ready means that a pod answers, or, where the pods are not of those that do, that the port is open.
    """
    enough = [] if pod_port == POD_PORT else ["listens"]
    with inside.start(*client_command("ready", port, _PATIENCE, *enough), stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        with running(inside, command) as process:
            answered = client.stdout.readline()
            if not answered:
                raise RuntimeError(f"{Path(command[0]).name} does not answer at its port")
            yield Service(inside, port, process.pid), json.loads(answered) - process.began


@dataclass(frozen=True, slots=True)
class Started:
    """A running program and when it was started."""

    pid: int
    began: float


@contextlib.contextmanager
def running(inside: Namespace, command: Sequence[str | Path], silent: bool = False) -> Iterator[Started]:
    """A running program, ended with the context. `silent` discards its output."""
    began = time.monotonic()
    process = inside.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if silent else None)
    try:
        yield Started(process.pid, began)
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
