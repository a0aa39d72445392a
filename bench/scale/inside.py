"""Measures inside a network namespace: started by `python -m bench.scale`. Prints each figure as a line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
from pathlib import Path

from bench.scale.lab import lab
from bench.scale.parts import ALONE, PARTS
from tests.modern import server


def main() -> None:
    """Measure the selected parts with one number of Kanaries."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.inside", description=__doc__)
    parser.add_argument("programs", type=Path, help="folder of the API server and etcd")
    parser.add_argument("kanaries", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("changes", type=int)
    parser.add_argument("kopf", type=Path, help="the program of kopf")
    parser.add_argument("parts", nargs="+", choices=[*PARTS, *ALONE])
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with server.running(options.programs) as kubeconfig, tempfile.TemporaryDirectory(prefix="kanary-scale-") as folder:
        asyncio.run(_measure(kubeconfig, Path(folder), options))


async def _measure(kubeconfig: Path, folder: Path, options: argparse.Namespace) -> None:
    async with lab(kubeconfig, folder, options) as made:
        for part in options.parts:
            async for name, value in (PARTS | ALONE)[part](made):
                print(json.dumps([name, value]), flush=True)


if __name__ == "__main__":
    main()
