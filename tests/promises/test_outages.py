"""The API server is away, for any time and in any manner: the same process goes on when it is back."""

from __future__ import annotations

import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.apiserver import ApiServer
from tests.integration.scene import PROCESSES, Scene, make_operator, routes
from tests.promises.gateway import Gateway
from tests.tables import Table, Tell

OUTAGES = Table(
    "Promise 3: outages of the API server, with one change in the middle of each and one at its end",
    ("manner", "leader election", "seconds away", "served after s: first change", "second change", "restarts"),
)
SECONDS = (5, 15, 40) if os.environ.get("KANARY_PROMISES") == "full" else (5, 15)
HANGING, PAUSE = 5, 5
HOST = "api.kanary.test"


@dataclass
class Result:
    seconds: int
    control: float
    """Seconds until a change is served without an outage: the larger of those before and after it."""
    first: float
    second: float
    restarts: int


class Away:
    """How an operator loses its API server, and finds it again."""

    def __init__(self, manner: str, url: str, folder: Path) -> None:
        self.manner = manner
        self.unresolved = folder / "unresolved"
        """The file that is there while the resolver of the operator fails."""
        self._served, self._other = (_certificate(folder), _certificate(folder)) if "TLS" in manner else (None, None)
        self.gateway = Gateway(url, self._served and self._served.context)
        self.authority = folder / "authority.pem"
        if self._served:
            self.authority.write_bytes(self._served.authority)

    @property
    def url(self) -> str:
        scheme, host = ("https" if self._served else "http"), (HOST if self.manner == "DNS failure" else "127.0.0.1")
        return f"{scheme}://{host}:{self.gateway.port}"

    def begin(self) -> None:
        match self.manner:
            case "refuses":
                self.gateway.refuse()
            case "hangs":
                self.gateway.hang()
            case "cut off":
                self.gateway.lose()
            case "responds 503":
                self.gateway.unavailable()
            case "DNS failure":
                self.unresolved.touch()
                self.gateway.reset()
            case "TLS failure" | "other TLS authority":
                self.gateway.tls = self._other and self._other.context
                self.gateway.reset()

    def end(self) -> None:
        if self.manner == "other TLS authority" and self._other:
            # The kubelet mounts the new one.
            self.authority.write_bytes(self._other.authority)
            self._served, self._other = self._other, self._served
        self.gateway.tls = self._served and self._served.context
        self.unresolved.unlink(missing_ok=True)
        self.gateway.back()


@dataclass
class Certificate:
    """Of a server that is its own authority."""

    context: ssl.SSLContext
    authority: bytes


def _certificate(folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = certificate.public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "server.pem"
    file.write_bytes(authority + key.private_bytes(serialization.Encoding.PEM, *form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return Certificate(context, authority)


def _through_the_gateway(scene: Scene, away: Away, path: Path) -> None:
    """The operators of this scene take this way."""
    config = yaml.safe_load(Path(scene.operators_kubeconfig).read_text())
    config["clusters"][0]["cluster"] = {"server": away.url}
    if away.authority.exists():
        config["clusters"][0]["cluster"]["certificate-authority"] = str(away.authority)
    path.write_text(yaml.safe_dump(config))
    scene.operators_kubeconfig = str(path)


def run_operator(kubeconfig: str, agent_port: int, leader_election: bool, unresolved: str) -> None:
    """The main function of a process, whose resolver knows HOST."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == HOST and Path(unresolved).exists():
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1" if host == HOST else host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
    make_operator(kubeconfig, agent_port, history_url="", leader_election=leader_election).run()


def _run(manner: str, leader_election: bool, folder: Path) -> list[Result]:
    folder.mkdir()
    with ApiServer(controllers=True) as server:
        scene = Scene(server, server.kubeconfig(folder / "direct"))
        away = Away(manner, server.url, folder)
        _through_the_gateway(scene, away, folder / "kubeconfig")
        scene.backend("app-v1", "10.0.0.1")
        scene.backend("app-v2", "10.0.0.2")
        try:
            arguments = scene.operators_kubeconfig, scene.agents.port, leader_election, str(away.unresolved)
            process = PROCESSES.Process(target=run_operator, args=arguments, daemon=True)
            process.start()
            try:
                return _measure(scene, away, process)
            finally:
                process.kill()
                process.join()
        finally:
            scene.stop()
            away.gateway.close()


def _measure(scene: Scene, away: Away, process: BaseProcess) -> list[Result]:
    def declare(name: str, weight: int) -> None:
        scene.declare(name, destination=name, routes=routes(app_v1=100 - weight, app_v2=weight))

    def served_after(name: str, back: float) -> float:
        scene.wait_for_phase("Ready", name)
        return time.monotonic() - back

    for name in ("first", "second"):
        declare(name, 50)
    for name in ("first", "second"):
        scene.wait_for_phase("Ready", name)

    def control(weight: int) -> float:
        began = time.monotonic()
        declare("second", weight)
        return served_after("second", began)

    found = []
    for weight, seconds in enumerate(SECONDS, 1):
        before = control(90 - weight)
        away.begin()
        time.sleep(seconds / 2)  # the outage lasts so long
        declare("first", weight)
        time.sleep(seconds / 2)
        away.end()
        back = time.monotonic()
        declare("second", weight)
        with ThreadPoolExecutor() as pool:
            first, second = pool.map(served_after, ("first", "second"), (back, back))
        controls = max(before, control(50 + weight))
        found.append(Result(seconds, controls, first, second, int(not process.is_alive())))
    return found


MANNERS = ("refuses", "hangs", "cut off", "responds 503", "DNS failure", "TLS failure", "other TLS authority")


def test_the_same_process_serves_changes_soon_after_an_outage(tmp_path: Path, tell: Tell) -> None:
    # Without a Lease that is renewed, only their silence shows that watches are dead, as in "cut off".
    cases = [*[(manner, True) for manner in MANNERS], ("refuses", False), ("hangs", False), ("responds 503", False)]
    with ThreadPoolExecutor(len(cases)) as pool:
        running = [pool.submit(_run, *case, tmp_path / f"{number}") for number, case in enumerate(cases)]
        results = {case: future.result() for case, future in zip(cases, running, strict=True)}
    for (manner, is_elected), found in results.items():
        for each in found:
            cells = f"{each.first:.1f}", f"{each.second:.1f}", each.restarts
            tell(OUTAGES, manner, "yes" if is_elected else "no", f"{each.seconds:2}", *cells)
            assert each.restarts == 0
            # A request that hangs, the pause after it, and the change itself on a machine that is busy.
            assert max(each.first, each.second) < HANGING + PAUSE + 10 * each.control, (manner, is_elected, each)
