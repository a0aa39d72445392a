"""Plays a namespace that keeps the operator busy: `python -m bench.scale.crowd KUBECONFIG NAMESPACE KANARIES EDITS`.

For a line of input, it creates that many Kanaries at once and waits until they are Ready, and changes the weights of
one of them that often, 1,000 times a minute. It writes a line when it is prepared, and one when all is done.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from bench.scale.api import Api
from bench.scale.fleet import Fleet
from bench.scale.player import Player

_INTERVAL = 60 / 1_000
_READY_SECONDS = 600


async def _crowd(kubeconfig: Path, namespace: str, kanaries: int, edits: int) -> None:
    names = [f"{namespace}-{number:04}" for number in range(kanaries)]
    async with Api(kubeconfig, namespace) as api, asyncio.TaskGroup() as group:
        await api.prepare()
        fleet, player = Fleet(api), Player(api)
        tasks = [group.create_task(fleet.follow()), group.create_task(player.run())]
        await _line("prepared")
        await fleet.create(names)
        await fleet.await_ready(names, _READY_SECONDS)
        began = time.monotonic()
        for number in range(edits):
            await asyncio.sleep(began + number * _INTERVAL - time.monotonic())
            await fleet.change_weight(names[0], 1 + number % 99)
        await _line("done")
        for task in tasks:
            task.cancel()


async def _line(said: str) -> None:
    """Write this line, and wait for one."""
    print(said, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(_crowd(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))
