"""Network namespaces with only loopback: the load does not use the connection tracking of the host."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.render.sysctls import ALL_SYSCTLS

CLIENTS = Path(__file__).parent / "clients"

# The kernel parameters are those of a proxy's pod. TCP timestamps have a random offset for each pair of addresses: with
# address translation, a pod could take them for old ones, and drop the first packet of a connection whose port was used
# a minute before.
_SYSCTLS = {**ALL_SYSCTLS, "net.ipv4.tcp_timestamps": "2"}
_PREPARE = f"""
ip link set lo up
sysctl -qw {shlex.join(f"{name}={value}" for name, value in _SYSCTLS.items())}
readlink /proc/self/ns/net
exec cat
"""


class Namespace:
    """One network namespace, in which commands are run."""

    def __init__(self, holder: int) -> None:
        self._enter = ("nsenter", f"--net=/proc/{holder}/ns/net", "--")

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a program without waiting for it."""
        return subprocess.Popen([*self._enter, *command], text=True, **options)

    def run(self, *command: str | Path, timeout: float = 60, given: str | None = None) -> str:
        """The output of a program for this input.

        Raises CalledProcessError, with what the program has written to stderr as a note.
        """
        words = [*self._enter, *command]
        try:
            done = subprocess.run(words, check=True, text=True, capture_output=True, timeout=timeout, input=given)
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise
        return done.stdout

    def client(self, name: str, *arguments: object, timeout: float = 60) -> Any:
        """The result of a client."""
        return json.loads(self.run(*client_command(name, *arguments), timeout=timeout))


def client_command(name: str, *arguments: object) -> Sequence[str]:
    """The command that runs a client, without modules that it does not need."""
    return [sys.executable, "-I", "-S", str(CLIENTS / f"{name}.py"), *map(str, arguments)]


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace that is removed when the context or this program ends, in any way.

    It lives as long as a process that waits for the end of its input. Nothing is left in a file system.
    """
    ours = Path("/proc/self/ns/net").readlink()
    with subprocess.Popen(
        ["unshare", "--net", "--", "sh", "-c", _PREPARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        theirs = holder.stdout.readline().strip()
        if not theirs or theirs == str(ours):
            raise RuntimeError("could not make a network namespace: the benchmarks need root")
        yield Namespace(holder.pid)
        holder.stdin.close()
