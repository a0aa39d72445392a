"""A proxy pod under `updateStrategy: Live` on loopback: HAProxy, the agent beside it, and a mounted ConfigMap."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.render.config import ProxyConfig
from engine.render.haproxy import LOG_DESCRIPTOR, render
from engine.render.pods import FAILURE_PIPE
from kanary.operator.sending import Push, put
from tests.haproxy.proxies import CONFIG_FILE, HAPROXY, MASTER_SOCKET, Proxy, free_port
from tests.waiting import PATIENCE, await_that

ACCEPTED_FILE = "accepted.cfg"
KEY_FILE = "public-key.pem"
KEY = Ed25519PrivateKey.generate()
"""The operator's."""
PUBLIC_KEY = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OPENSSL = Path(__file__).parents[1] / "tools" / "openssl"
POD = "uid-of-the-pod"
ROOT = Path(__file__).parents[2]
AGENT = ROOT / "images" / "haproxy" / "agent"
SHARED = (Path("states/evidence.py"),)
"""What the image has of the operator's code."""


def install(folder: Path) -> Path:
    """Copies the agent into this folder, with the files that the image has."""
    shutil.copytree(AGENT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in SHARED:
        (folder / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return folder


class Mount:
    """A ConfigMap as the kubelet mounts it: the files of one moment in a folder, which `..data` points to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = itertools.count()
        folder.mkdir()
        for name in (CONFIG_FILE, ACCEPTED_FILE, KEY_FILE):
            (folder / name).symlink_to(Path("..data") / name)

    def swap(self, text: str, accepted: str = "") -> None:
        version = self.folder / f"..version_{next(self._versions)}"
        version.mkdir()
        (version / CONFIG_FILE).write_text(text)
        (version / ACCEPTED_FILE).write_text(accepted)
        (version / KEY_FILE).write_bytes(PUBLIC_KEY)
        data, new = self.folder / "..data", self.folder / "..data_tmp"
        former = data.resolve() if data.is_symlink() else None
        new.symlink_to(version.name)
        new.replace(data)
        if former:
            shutil.rmtree(former)


class LiveProxy(Proxy):
    """One proxy pod: its clients see the proxy, the operator its report; the containers can be killed one by one."""

    def __init__(
        self,
        config: ProxyConfig,
        folder: Path,
        pod_user: int | None,
        *,
        program: Path,
        descriptors: int | None,
        eject_seconds: float | None,
        contact_seconds: float | None,
    ) -> None:
        self.run = folder / "run" / "kanary"
        self.run.mkdir(parents=True)
        # The user that HAProxy and the agent are may be another one.
        self.run.chmod(0o777)
        self._base = folder
        self._pod_user = pod_user
        self._program = program
        self._limit = ["prlimit", f"--nofile={descriptors}"] if descriptors else []
        self._options = ["--eject-seconds", str(eject_seconds)] if eject_seconds else []
        self._options += ["--contact-seconds", str(contact_seconds)] if contact_seconds else []
        self.report_port = free_port()
        self.mounted = Mount(folder / "mounted")
        self.agent = self.start_agent()
        super().__init__(config, self._start_haproxy(), self.run)

    @property
    def haproxy(self) -> subprocess.Popen[bytes]:
        return self.process

    def mount(self, config: ProxyConfig | str) -> None:
        """The kubelet has the new content of the ConfigMap. A configuration is expected to be served from now on."""
        if isinstance(config, str):
            self.mounted.swap(config)
        else:
            self.config = config
            self._routes = {server: number for number, route in enumerate(config.routes) for server in route.servers}
            self.mounted.swap(render(config).text)

    def serve(self, config: ProxyConfig) -> None:
        """Mounts it, and returns when it is served."""
        self.mount(config)
        self.await_served()

    def await_served(self) -> None:
        """The configuration is served, by the report and by the proxy itself."""
        await_that(lambda: self.reported().get("digest") == render(self.config).digest, "the configuration is reported")
        await_that(self.heeds_signals, "the master is done starting")
        self.await_handover()
        assert self.is_ready()

    def push(self, config: ProxyConfig, key: Ed25519PrivateKey = KEY) -> int:
        """The operator sends it; returns the status. It is expected to be served from now on."""
        self.config = config
        return self.send(pushed(config, key))

    def send(self, push: Push) -> int:
        return asyncio.run(put("127.0.0.1", self.report_port, push))

    def report(self) -> dict[str, Any]:
        status, content = self.get_from_agent("/report")
        assert status == 200, (status, content)
        report: dict[str, Any] = json.loads(content)
        return report

    def reported(self) -> dict[str, Any]:
        """The report, empty where the agent does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.report()
        return {}

    def ejected(self) -> list[str]:
        """The servers that the report lists as drained, of all routes; none where the agent does not answer."""
        routes = self.reported().get("routes", {}).values()
        found = (server for route in routes for server in route["servers"])
        return sorted(server["address"] for server in found if server["status"] == "DRAIN")

    def get_from_agent(self, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, self.report_port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    @contextlib.contextmanager
    def streamed(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The reports that the agent sends on one connection; heartbeats are left out."""
        with self.connect_to_agent() as connection, connection.makefile("rb") as lines:
            connection.sendall(b"GET /reports HTTP/1.1\r\n\r\n")
            head = list(itertools.takewhile(lambda line: line != b"\r\n", lines))
            assert head[0] == b"HTTP/1.1 200 OK\r\n", head
            yield (json.loads(line) for line in lines if line.strip())

    def connect_to_agent(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.report_port), timeout=PATIENCE)

    def kill_agent(self) -> None:
        self.agent.kill()
        self.agent.wait()

    def stop_agent(self, number: signal.Signals) -> int:
        """Its exit code after that signal."""
        self.agent.send_signal(number)
        return self.agent.wait(timeout=PATIENCE)

    def start_agent(self) -> subprocess.Popen[bytes]:
        mounted, run = self._base / "mounted", self.run
        command: list[str | Path] = [
            sys.executable,
            "-I",
            "-S",
            "-B",
            install(self._base / "agent"),
            "--haproxy",
            self._program,
            "--openssl",
            OPENSSL,
        ]
        if self._pod_user:
            mounted, run = Path("/mnt/mounted"), Path("/run/kanary")
            command = [*self._in_pod(), "python3", "-I", "-S", "/mnt/agent"]
        command += ["--mounted", mounted / CONFIG_FILE, "--run", run, "--port", str(self.report_port), "--pod", POD]
        command += self._options
        self.agent = self._started(command, "agent.log")
        return self.agent

    def restart_agent(self, program: Path | None = None) -> None:
        """By another program for its checks, if one is given."""
        self.kill_agent()
        self._program = program or self._program
        self.start_agent()

    def restart_haproxy(self) -> None:
        """Its container is started again."""
        self.process.kill()
        self.process.wait()
        # A report may be a turn of the agent's loop old.
        await_that(lambda: not self.reported().get("digest"), "the agent reports that HAProxy has ended")
        self.process = self._start_haproxy()

    def agent_log(self) -> list[str]:
        return (self._base / "agent.log").read_text().splitlines()

    def _start_haproxy(self) -> subprocess.Popen[bytes]:
        run = Path("/run/kanary") if self._pod_user else self.run
        file = run / CONFIG_FILE
        pipe = f"exec {LOG_DESCRIPTOR}<>{run / FAILURE_PIPE}"
        script = (
            f'until [ -e {file} ]; do sleep 0.05; done; {pipe}; exec "$0" -W -db -S {run / MASTER_SOCKET} -f {file}'
        )
        haproxy = "haproxy" if self._pod_user else HAPROXY
        return self._started([*self._limit, *self._in_pod(), "sh", "-c", script, haproxy], "run/kanary/log")

    def _in_pod(self) -> list[str | Path]:
        if not self._pod_user:
            return []
        return [HAPROXY, "--in-pod", str(self._pod_user), self._base, self._base / "run"]

    def _started(self, command: Sequence[str | Path], log: str) -> subprocess.Popen[bytes]:
        with (self._base / log).open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output)

    def end(self) -> None:
        """Both containers are gone, whatever state they are in."""
        self.kill_agent()
        self.process.terminate()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def pushed(config: ProxyConfig, key: Ed25519PrivateKey = KEY) -> Push:
    """What the operator sends of it."""
    rendered = render(config)
    content = rendered.text.encode()
    return Push(config.kanary, config.serial, rendered.digest, content, key.sign(content))


def worker(proxy: Proxy) -> str:
    """Which process serves new connections."""
    return next(line for line in proxy.command("@1 show info").splitlines() if line.startswith("Pid: "))


@contextlib.contextmanager
def live(config: ProxyConfig, pod_user: int | None = None, **options: Any) -> Iterator[LiveProxy]:
    """A proxy pod that serves the configuration, gone when the context ends."""
    with pod(config, pod_user, **options) as proxy:
        proxy.serve(config)
        yield proxy


@contextlib.contextmanager
def pod(
    config: ProxyConfig,
    pod_user: int | None = None,
    *,
    program: Path = HAPROXY,
    descriptors: int | None = None,
    eject_seconds: float | None = None,
    contact_seconds: float | None = None,
) -> Iterator[LiveProxy]:
    """A proxy pod whose ConfigMap is not mounted yet.

    With a `pod_user`, both containers run as this one on a read-only root file system. `program` is what the agent
    checks configurations with, `descriptors` the limit of open files, `eject_seconds` how long a bad pod is out the
    first time, and `contact_seconds` how long the operator may be silent.
    """
    with tempfile.TemporaryDirectory(prefix="kanary-live-") as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        proxy = LiveProxy(
            config,
            folder,
            pod_user,
            program=program,
            descriptors=descriptors,
            eject_seconds=eject_seconds,
            contact_seconds=contact_seconds,
        )
        try:
            yield proxy
        finally:
            proxy.end()
