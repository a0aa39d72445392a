"""Measures inside a network namespace: started by `python -m bench.scale`. Prints each figure as a line of JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from bench.scale.lab import HISTORY, lab
from bench.scale.parts import ALONE, PARTS
from bench.scale.plan import Plan
from tests.modern import server


def main() -> None:
    """Measure what the plan in the first argument says."""
    plan = Plan.from_json(sys.argv[1])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stored = Path(plan.stored) if plan.is_stored else None
    with (
        server.running(Path(plan.programs), stored / "etcd" if stored else None) as kubeconfig,
        tempfile.TemporaryDirectory(prefix="kanary-scale-") as folder,
    ):
        if stored:
            shutil.copy(stored / HISTORY, folder)
        asyncio.run(_measure(kubeconfig, Path(folder), plan))


async def _measure(kubeconfig: Path, folder: Path, plan: Plan) -> None:
    async with lab(kubeconfig, folder, plan) as made:
        for part in plan.parts:
            async for name, value in (PARTS | ALONE)[part](made):
                print(json.dumps([name, value]), flush=True)


if __name__ == "__main__":
    main()
