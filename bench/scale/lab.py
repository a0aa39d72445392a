"""The environment of one measurement: an API server, the player, and the Kanaries."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.scale import operator
from bench.scale.api import Api
from bench.scale.fleet import Fleet
from bench.scale.operator import Kanary, Kopf
from bench.scale.plan import Plan
from bench.scale.player import Player
from bench.session import say

_SETUP_SECONDS = 3600
_FLUSH_SECONDS = 5
"""After this time without writes, the files of etcd are complete."""
HISTORY = "history.db"


@dataclass(frozen=True, slots=True)
class Lab:
    """All that the parts need."""

    kubeconfig: Path
    folder: Path
    api: Api
    fleet: Fleet
    player: Player
    names: Sequence[str]
    plan: Plan

    @contextlib.asynccontextmanager
    async def operator(self) -> AsyncIterator[Kanary]:
        """`kanary run`, when it has reconciled all Kanaries after its start."""
        async with operator.kanary(self.kubeconfig, self.folder) as process:
            began = time.monotonic()
            while await process.handled() < len(self.names):
                await asyncio.sleep(0.2)
            await self.fleet.await_ready(self.names, _SETUP_SECONDS)
            await process.settle()
            say(f"the operator has started: {time.monotonic() - began:.0f} s, {process.cpu():.1f} s of CPU")
            yield process

    @contextlib.asynccontextmanager
    async def kopf(self) -> AsyncIterator[Kopf]:
        """The operator of kopf, when it has handled all Kanaries after its start."""
        async with operator.kopf(self.kubeconfig, self.folder, Path(self.plan.kopf)) as process:
            while await process.handled() < len(self.names):
                await asyncio.sleep(0.2)
            yield process


def _store(kubeconfig: Path, folder: Path, stored: Path) -> None:
    """Keep the cluster's data and the history for later runs."""
    part = stored.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(kubeconfig.parent / "etcd", part / "etcd")
    shutil.copy(folder / HISTORY, part)
    shutil.rmtree(stored, ignore_errors=True)
    part.rename(stored)


@contextlib.asynccontextmanager
async def lab(kubeconfig: Path, folder: Path, plan: Plan) -> AsyncIterator[Lab]:
    """The environment with that many Kanaries, Ready once; no operator is running."""
    names = [f"web-{number:04}" for number in range(plan.kanaries)]
    async with Api(kubeconfig) as api, asyncio.TaskGroup() as group:
        await api.prepare()
        fleet, player = Fleet(api), Player(api)
        tasks = [group.create_task(fleet.follow()), group.create_task(player.run())]
        made = Lab(kubeconfig, folder, api, fleet, player, names, plan)
        if not plan.is_stored:
            say(f"creating {plan.kanaries:,} Kanaries")
            await fleet.create(names)
        async with made.operator():
            pass
        if plan.stored:
            # Also of a former run: the operator may just have rolled out other proxies.
            await asyncio.sleep(_FLUSH_SECONDS)
            _store(kubeconfig, folder, Path(plan.stored))
        yield made
        for task in tasks:
            task.cancel()
