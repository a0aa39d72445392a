"""A pod in a process of its own, which can be frozen and killed.

    python -m tests.promises.pod_process ADDRESS

Prints its port, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.render.config import Server
from tests.haproxy.pods import greet_and_echo


@contextlib.contextmanager
def pod_process(address: str) -> Iterator[tuple[Server, subprocess.Popen[str]]]:
    """The pod and its process, in the network of the calling thread."""
    command = [sys.executable, "-m", "tests.promises.pod_process", address]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Server(address, int(process.stdout.readline())), process
        finally:
            process.kill()


async def _serve(address: str) -> None:
    server = await asyncio.start_server(greet_and_echo, address, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
