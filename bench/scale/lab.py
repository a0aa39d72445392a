"""The environment of one measurement: an API server, the player, and the Kanaries."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.programs import ROOT
from bench.scale import operator
from bench.scale.api import Api
from bench.scale.fleet import Fleet
from bench.scale.operator import Kanary, Kopf
from bench.scale.player import Player
from bench.session import say

_SETUP_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Lab:
    """All that the parts need."""

    kubeconfig: Path
    folder: Path
    api: Api
    fleet: Fleet
    player: Player
    names: Sequence[str]
    seconds: float
    """How long to measure what takes any time."""
    changes: int
    """How many changes of weights memory is measured over."""
    kopf_program: Path

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
        async with operator.kopf(self.kubeconfig, self.folder, self.kopf_program) as process:
            while await process.handled() < len(self.names):
                await asyncio.sleep(0.2)
            yield process


@contextlib.asynccontextmanager
async def lab(kubeconfig: Path, folder: Path, options: argparse.Namespace) -> AsyncIterator[Lab]:
    """The environment with that many Kanaries, Ready once; no operator is running."""
    names = [f"web-{number:04}" for number in range(options.kanaries)]
    async with Api(kubeconfig) as api, asyncio.TaskGroup() as group:
        await api.prepare(ROOT / "manifests" / "crd.yaml")
        fleet, player = Fleet(api), Player(api)
        tasks = [group.create_task(fleet.follow()), group.create_task(player.run())]
        made = Lab(kubeconfig, folder, api, fleet, player, names, options.seconds, options.changes, options.kopf)
        say(f"creating {options.kanaries:,} Kanaries")
        await fleet.create(names)
        async with made.operator():
            pass
        yield made
        for task in tasks:
            task.cancel()
