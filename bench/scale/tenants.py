"""Measures the changes of one namespace, alone and beside another one, inside a network namespace.

`python -m bench.scale.tenants PROGRAMS KANARIES EDITS [NAMESPACE ...]`: PROGRAMS is the folder of the API server and
etcd, KANARIES and EDITS are those of `bench.scale.crowd`. There is an operator for each NAMESPACE, or one for all. It
writes one line of JSON: the fields of `Measured`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.namespaces import namespace
from bench.processes import cpu_seconds, tree
from bench.programs import ROOT
from bench.scale.api import Api
from bench.scale.fleet import Fleet
from bench.scale.operator import Kanary, kanary
from bench.scale.player import Player, address_of
from tests.modern import server

TENANT, CROWD = "tenant", "crowd"
_NAME = "web"
_READY_SECONDS = 60
_PORT = 8080
_PAUSE = 0.4
"""Between two changes. The operator takes about three reports a second of each proxy (`kanary/operator/streams.py`):
more changes would wait for their own reports."""
_WARM_UP, _CHANGES = 6, 20
"""Even numbers: the first of the next changes has other weights than the last one."""
_BACKENDS, _PROXIES = (11 << 24), (127 << 24) + (200 << 16)
"""Addresses that the other namespace does not have."""
_PODS = 8
"""More proxies than the Kanary ever has."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The seconds of changes of weights, from the write to the status that says that all proxies serve it."""

    alone: list[float]
    beside: list[float]
    after: list[float]
    """When the other namespace has done what it does, and is still there."""
    operator_cpu: float
    """Of a core, while there was the other namespace: the operator of this one."""
    others_cpu: float
    """The API server, etcd, and what plays the controllers, nodes and agents."""
    idle_cpu: float
    """What nothing on the machine used."""
    seconds: float
    """How long the other namespace was busy."""


def measured(programs: Path, kanaries: int, edits: int, namespaces: Sequence[str] = ()) -> Measured:
    """Measure in a network namespace. Needs root."""
    arguments = [str(programs), str(kanaries), str(edits), *namespaces]
    with namespace() as inside:
        printed = inside.run(sys.executable, "-m", "bench.scale.tenants", *arguments, timeout=600)
    return Measured(**json.loads(printed))


async def _measure(kubeconfig: Path, folder: Path, kanaries: int, edits: int, namespaces: Sequence[str]) -> Measured:
    programs = tree(os.getpid())[1:]  # the API server and etcd
    hosts = [address_of(_PROXIES + number) for number in range(1, 1 + _PODS)]
    async with Api(kubeconfig, TENANT) as api, AsyncExitStack() as running:
        group = await running.enter_async_context(asyncio.TaskGroup())
        await api.prepare()
        fleet, player = Fleet(api, addresses=_BACKENDS), Player(api, last=_PROXIES, hosts=hosts)
        tasks = [group.create_task(fleet.follow()), group.create_task(player.run())]
        await fleet.create([_NAME])
        crowd = await running.enter_async_context(_crowd(kubeconfig, kanaries, edits))
        operators = [
            await running.enter_async_context(_operator(kubeconfig, folder, number, each))
            for number, each in enumerate(namespaces or [None])
        ]
        await fleet.await_ready([_NAME], _READY_SECONDS)
        await _changes(fleet, lambda count: count == _WARM_UP)
        alone = await _changes(fleet, lambda count: count == _CHANGES)

        def used() -> tuple[float, ...]:
            rest = sum(map(cpu_seconds, [*programs, crowd.pid])) + time.process_time()
            return time.monotonic(), operators[0].cpu(), rest, _idle_seconds()

        before = used()
        over = asyncio.create_task(_work(crowd))
        beside = await _changes(fleet, lambda _: over.done())
        seconds, *cpu = [now - then for now, then in zip(used(), before, strict=True)]
        await over
        after = await _changes(fleet, lambda count: count == _CHANGES)
        for task in tasks:
            task.cancel()
    return Measured(alone, beside, after, cpu[0] / seconds, cpu[1] / seconds, cpu[2] / seconds, seconds)


@asynccontextmanager
async def _operator(kubeconfig: Path, folder: Path, number: int, namespace: str | None) -> AsyncIterator[Kanary]:
    own = folder / str(number)
    own.mkdir()
    options = [f"--lease-name=kanary-{number}", *([f"--namespace={namespace}"] if namespace else [])]
    async with kanary(kubeconfig, own, *options, port=_PORT + number) as process:
        yield process


@asynccontextmanager
async def _crowd(kubeconfig: Path, *arguments: object) -> AsyncIterator[subprocess.Popen[str]]:
    """The other namespace, prepared."""
    command = [sys.executable, "-m", "bench.scale.crowd", str(kubeconfig), CROWD, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            await _next_line(process)
            yield process
        finally:
            process.kill()


async def _work(crowd: subprocess.Popen[str]) -> None:
    """Have the other namespace do what it does, to the end."""
    assert crowd.stdin is not None
    crowd.stdin.write("\n")
    crowd.stdin.flush()
    await _next_line(crowd)


async def _next_line(crowd: subprocess.Popen[str]) -> None:
    assert crowd.stdout is not None
    if not await asyncio.to_thread(crowd.stdout.readline):
        raise RuntimeError("the other namespace has failed")


async def _changes(fleet: Fleet, is_over: Callable[[int], bool]) -> list[float]:
    """The seconds of changes one after the other, until this is true of their number."""
    found: list[float] = []
    while not is_over(len(found)):
        await asyncio.sleep(_PAUSE)
        began = time.monotonic()
        await fleet.change_weight(_NAME, 40 + len(found) % 2 * 20)
        await fleet.await_ready([_NAME], _READY_SECONDS)
        found.append(time.monotonic() - began)
    return found


def _idle_seconds() -> float:
    """Of all cores, since the machine has started."""
    return int(Path("/proc/stat").read_text().split()[4]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure what the arguments say."""
    programs, kanaries, edits, *namespaces = sys.argv[1:]
    with server.running(Path(programs)) as kubeconfig, tempfile.TemporaryDirectory(prefix="kanary-tenants-") as folder:
        found = asyncio.run(_measure(kubeconfig, Path(folder), int(kanaries), int(edits), namespaces))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
