"""The measured operators, on one kubeconfig: `kanary run` as it is deployed, and one of kopf that does nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.namespaces import CLIENTS
from bench.processes import cpu_seconds
from bench.programs import ROOT
from bench.scale.api import NAMESPACE

KOPF_URL = "http://127.0.0.1:8090/healthz"
_START_SECONDS = 60
_STOP_SECONDS = 30
_ROUTINE = 3
"""Kanaries in the queue, above which an operator works through a backlog."""
_SAMPLE = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Operator:
    """A running operator."""

    pid: int
    page: str
    """URL of its figures."""

    def cpu(self) -> float:
        """Seconds of CPU until now."""
        return cpu_seconds(self.pid)

    def rss(self) -> float:
        """Memory in MB."""
        return self._memory("VmRSS")

    def peak(self) -> float:
        """The most memory until now, in MB."""
        return self._memory("VmHWM")

    async def scrape(self) -> bytes:
        """The whole page. Raises aiohttp.ClientError."""
        async with aiohttp.ClientSession() as session, session.get(self.page) as response:
            return await response.read()

    async def handled(self) -> int:
        """How many events it has handled, or reconciles it has completed."""
        raise NotImplementedError

    def _memory(self, name: str) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")) * 1024 / 1e6


class Kanary(Operator):
    """`kanary run`."""

    async def figures(self) -> dict[str, float]:
        """Its own metrics, each summed over its labels."""
        found: dict[str, float] = {}
        for name, value in _SAMPLE.findall((await self.scrape()).decode()):
            found[name] = found.get(name, 0) + float(value)
        return found

    async def handled(self) -> int:
        """How many reconciles it has completed."""
        return int((await self.figures()).get("kanary_reconcile_total", 0))

    async def queue(self) -> int:
        """How many Kanaries are in its queue."""
        return int((await self.figures())["kanary_queue_depth"])

    async def settle(self, quiet: float = 2, limit: float = 900) -> None:
        """Wait until its queue has been empty for that many seconds, routine looks aside. Raises TimeoutError."""
        since = time.monotonic()
        end = since + limit
        while time.monotonic() - since < quiet:
            if time.monotonic() > end:
                raise TimeoutError(f"the operator is still busy after {limit} s")
            await asyncio.sleep(0.5)
            if await self.queue() > _ROUTINE:
                since = time.monotonic()


@dataclass(frozen=True, slots=True)
class Kopf(Operator):
    """bench/clients/kopf_operator.py."""

    count: Path

    async def handled(self) -> int:
        """How many events its handler has received."""
        return int(self.count.read_text() or 0)


@contextlib.asynccontextmanager
async def kanary(kubeconfig: Path, folder: Path, *more: str, port: int = 8080) -> AsyncIterator[Kanary]:
    """`kanary run` with `more` options, ended with the context. Its log and its history are in the folder."""
    options = [
        *more,
        f"--kubeconfig={kubeconfig}",
        "--lease-namespace=default",
        f"--http-port={port}",
        "--history-port=0",
        f"--history-url=sqlite:///{folder}/history.db",
    ]
    command = [sys.executable, "-m", "kanary.cli.main", "run", *options]
    # The variable is that of the operator's image.
    async with _running(command, folder / "kanary.log", MALLOC_ARENA_MAX="1") as pid:
        operator = Kanary(pid, f"http://127.0.0.1:{port}/metrics")
        await _answers(operator)
        yield operator


@contextlib.asynccontextmanager
async def kopf(kubeconfig: Path, folder: Path, program: Path) -> AsyncIterator[Kopf]:
    """The operator of kopf, ended with the context; `program` is kopf itself."""
    options = ["--standalone", f"--namespace={NAMESPACE}", f"--liveness={KOPF_URL}", "--quiet"]
    command = [str(program), "run", *options, str(CLIENTS / "kopf_operator.py")]
    count = folder / "handled"
    count.write_text("")
    variables = {"KUBECONFIG": str(kubeconfig), "KOPF_HANDLED": str(count)}
    async with _running(command, folder / "kopf.log", **variables) as pid:
        operator = Kopf(pid, KOPF_URL, count)
        await _answers(operator)
        yield operator


async def _answers(operator: Operator) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            await operator.scrape()
        except aiohttp.ClientError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)
        else:
            return


@contextlib.asynccontextmanager
async def _running(command: Sequence[str], log: Path, **variables: str) -> AsyncIterator[int]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=os.environ | variables)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
