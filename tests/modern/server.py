"""etcd and an API server with a current Kubernetes' code, as processes on loopback."""

import random
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import yaml

from tests.waiting import await_that


@contextmanager
def running(programs: Path, stored: Path | None = None) -> Iterator[Path]:
    """Start both with nothing stored, or with a copy of this data of etcd, and yield a kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="kanary-modern-") as name, ExitStack() as processes:
        folder = Path(name)
        if stored:
            shutil.copytree(stored, folder / "etcd")
        *ports, port = free_ports(3)
        etcd = processes.enter_context(_etcd(programs, folder, *ports))
        yield processes.enter_context(_api_server(programs, folder, etcd, port))


@contextmanager
def _etcd(programs: Path, folder: Path, *ports: int) -> Iterator[str]:
    clients, peers = (f"http://127.0.0.1:{port}" for port in ports)
    command = [f"{programs}/etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=error"]
    command += [f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"]
    command += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
    with _process([*command, f"--initial-cluster=default={peers}"], folder / "etcd.log"):
        yield clients


@contextmanager
def _api_server(programs: Path, folder: Path, etcd: str, port: int) -> Iterator[Path]:
    url, certificate, log = f"https://127.0.0.1:{port}", folder / "apiserver.crt", folder / "apiserver.log"
    command = [f"{programs}/apiserver", f"--etcd={etcd}", f"--port={port}", f"--cert-dir={folder}"]
    with _process(command, log) as process:
        await_that(lambda: process.poll() is not None or _is_ready(url, certificate), log.read_text)
        assert process.poll() is None, f"the API server ended: {log.read_text()}"
        yield _kubeconfig(folder / "kubeconfig", url, certificate)


@contextmanager
def _process(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.kill()


def _is_ready(url: str, certificate: Path) -> bool:
    with suppress(urllib.error.URLError, OSError):
        context = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=5) as answer:
            return bool(answer.status == 200)
    return False


def _kubeconfig(path: Path, url: str, certificate: Path) -> Path:
    cluster = {"server": url, "certificate-authority": str(certificate)}
    # The server has no authentication, but kubectl prompts for a name if it has no credentials.
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "modern", "cluster": cluster}],
        "users": [{"name": "anybody", "user": {"token": "any"}}],
        "contexts": [{"name": "modern", "context": {"cluster": "modern", "user": "anybody"}}],
        "current-context": "modern",
    }
    path.write_text(yaml.safe_dump(config))
    return path


def free_ports(number: int) -> list[int]:
    """Ports below those that the kernel gives to outgoing connections, which would take them away again.

    In the namespaces of `bench.namespaces` these begin lower than elsewhere.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    with ExitStack() as probes:
        while len(found) < number:
            probe, port = probes.enter_context(socket.socket()), random.randrange(first * 3 // 4, first)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found
