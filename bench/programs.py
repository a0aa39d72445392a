"""The programs of the measurements."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HAPROXY = ROOT / "tests" / "tools" / "haproxy"

_PATIENCE = 60

_LISTENS = """
defaults
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend nothing
  bind unix@{socket}
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """How each program is called."""

    haproxy: tuple[str, ...]
    nginx: str
    stream_module: str
    wrk: str
    iperf3: str
    iptables: str
    ipvsadm: str

    def versions(self) -> dict[str, str]:
        """The version that each reports."""
        commands = {
            "HAProxy": [*self.haproxy, "-v"],
            "nginx": [self.nginx, "-v"],
            "wrk": [self.wrk, "-v"],
            "iperf3": [self.iperf3, "--version"],
            "iptables": [self.iptables, "--version"],
        }
        return {name: _version(command) for name, command in commands.items()}


def programs() -> Programs:
    """Install missing programs, and find all."""
    said = subprocess.run([ROOT / "bench" / "setup"], check=True, stdout=subprocess.PIPE, text=True).stdout
    paths = dict(line.split("=", 1) for line in said.splitlines())
    return Programs(haproxy=_haproxy(), **paths)


def _version(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _haproxy() -> tuple[str, ...]:
    """The command that the script of the tests becomes: the script's own time is not HAProxy's."""
    with tempfile.TemporaryDirectory() as folder:
        config, socket = Path(folder) / "haproxy.cfg", Path(folder) / "socket"
        config.write_text(_LISTENS.format(socket=socket))
        arguments = ["-db", "-f", str(config)]
        with _ended(subprocess.Popen([HAPROXY, *arguments])) as process:
            # It listens: by now the script has become HAProxy.
            _await_file(socket)
            words = Path(f"/proc/{process.pid}/cmdline").read_text().rstrip("\0").split("\0")
    if words[-len(arguments) :] != arguments or "docker" in words[0]:
        raise RuntimeError(
            "the benchmarks need HAProxy on this machine, not in a container: run them on Debian as root"
        )
    return tuple(words[: -len(arguments)])


def _await_file(path: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"HAProxy does not listen within {_PATIENCE} s")
        time.sleep(0.01)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
