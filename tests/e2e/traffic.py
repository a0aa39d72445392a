"""Real connections, made from a client pod in the cluster and counted by who answered."""

import dataclasses
import json
import uuid
from typing import Any, Self

from tests.e2e import stacks
from tests.e2e.kubectl import Kubectl

ECHO = ("kanary-echo",)


@dataclasses.dataclass(frozen=True)
class Count:
    """How many connections were made, and who answered them."""

    connections: int
    versions: dict[str, int]
    pods: dict[str, int]
    errors: dict[str, int]

    def is_split(self, within: int = 0, **shares: int) -> bool:
        """Whether no connection failed and each version has its share, in percent, give or take ``within``."""
        if self.errors or not set(self.versions) <= set(shares):
            return False
        expected = {version: share * self.connections / 100 for version, share in shares.items()}
        return all(abs(self.versions.get(version, 0) - number) <= within for version, number in expected.items())


def in_pod(program: tuple[str, ...]) -> tuple[str, ...]:
    """The kubectl arguments that run ``program`` in the client pod."""
    return ("exec", stacks.CLIENT, "--", *program)


class Running:
    """A client that runs until it is stopped, or until its ``with`` block ends."""

    def __init__(self, kubectl: Kubectl, *arguments: str) -> None:
        self._kubectl = kubectl
        self._stop_file = f"/tmp/stop-{uuid.uuid4().hex}"
        self._process = kubectl.start(*in_pod((*ECHO, *arguments, "--until", self._stop_file)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running():
            self._process.kill()
        self._process.communicate()

    def first_line(self) -> str:
        """Wait for the first line of output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def is_running(self) -> bool:
        """Whether the client still runs."""
        return self._process.poll() is None

    def stop(self, timeout: float = 60) -> Any:
        """Have it stop, and return the last line of its output as data; ``timeout`` in seconds."""
        if self.is_running():
            self._kubectl(*in_pod(("touch", self._stop_file)))
        output, errors = self._process.communicate(timeout=timeout)
        assert self._process.returncode == 0, errors
        return json.loads(output.splitlines()[-1])

    def stop_counting(self) -> Count:
        """Like ``stop``, for a client that counts."""
        return Count(**self.stop())


class Client:
    """The client pod of one namespace."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        kubectl.apply_file(stacks.CLIENT_FILE)
        kubectl("wait", "--for=condition=Ready", f"pod/{stacks.CLIENT}", "--timeout=110s")

    def count(self, address: str, port: int, connections: int, *, workers: int = 4) -> Count:
        """Open this number of connections, one after the other on each of ``workers`` threads."""
        arguments = ("count", address, str(port), str(connections), "--workers", str(workers))
        return Count(**json.loads(self._kubectl(*in_pod((*ECHO, *arguments)), timeout=300)))

    def keep_counting(self, address: str, port: int) -> Running:
        """Open connections, about 100/s, until it is stopped."""
        return Running(self._kubectl, "count", address, str(port), "1000000", "--workers", "2", "--pause", "0.02")

    def hold(self, address: str, port: int) -> Running:
        """Keep one connection in use until it is stopped; returns once the connection stands."""
        running = Running(self._kubectl, "hold", address, str(port))
        assert "line" in running.first_line()
        return running
