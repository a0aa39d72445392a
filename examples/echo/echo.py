#!/usr/bin/env python3
"""A TCP server that sends its version and pod, and the clients that count its answers.

The server sends one line, ``VERSION POD``, to each client, and closes. With ``HOLD=1`` it keeps the
connection open and sends back whatever comes. With ``RESETS=3`` it resets 3 % of its connections instead;
the file ``/tmp/resets`` has precedence.

    kanary-echo serve                        VERSION, PORT, HOLD and RESETS from the environment; POD is the host name
    kanary-echo count HOST PORT CONNECTIONS  opens this number of connections, prints the counts as one line of JSON
    kanary-echo hold HOST PORT               keeps one connection in use (against HOLD=1), prints how it ended
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LONGEST_LINE = 1024


# The server


def resets() -> float:
    """The percentage of connections that this server resets."""
    with contextlib.suppress(OSError, ValueError):
        return float(Path("/tmp/resets").read_text())  # noqa: S108  the container is alone with it
    return float(os.environ.get("RESETS", "0"))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send this server's line, then close, or echo until the client closes."""
    if random.random() * 100 < resets():  # noqa: S311  not for cryptography
        # Closed with a linger time of zero, a connection is reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    # The client may close at any time.
    with contextlib.suppress(ConnectionError):
        writer.write(f"{os.environ.get('VERSION', 'unknown')} {socket.gethostname()}\n".encode())
        await writer.drain()
        while os.environ.get("HOLD") == "1" and (received := await reader.read(LONGEST_LINE)):
            writer.write(received)
            await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """Serve on ``port`` until SIGTERM or SIGINT; clients connected by then still get the line."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(answer, port=port, backlog=1024)
    print(f"serving version {os.environ.get('VERSION', 'unknown')} on port {port}", flush=True)
    await stopped.wait()
    server.close()
    if answering := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(answering, timeout=1)


# The clients


def line_of(connection: socket.socket) -> str:
    """Read one line. Raises ConnectionError when the connection ends before the line does."""
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(LONGEST_LINE)
        if not received:
            raise ConnectionError(f"closed after {len(line)} bytes")
        line += received
    return line.decode().strip()


def ask(host: str, port: int, timeout: float) -> str:
    """Connect once and return the server's line; ``timeout`` in seconds."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        return line_of(connection)


class Tally:
    """Counts of answers by version and pod, and errors. Shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.versions: collections.Counter[str] = collections.Counter()
        self.pods: collections.Counter[str] = collections.Counter()
        self.errors: collections.Counter[str] = collections.Counter()

    def add(self, line: str) -> None:
        """Count one answer."""
        version, _, pod = line.partition(" ")
        with self._lock:
            self.versions[version] += 1
            self.pods[pod] += 1

    def fail(self, error: Exception) -> None:
        """Count one connection that got no answer."""
        with self._lock:
            self.errors[f"{type(error).__name__}: {error}"] += 1

    def as_json(self) -> str:
        """Return the tally as one line of JSON."""
        counted = {"versions": dict(self.versions), "pods": dict(self.pods), "errors": dict(self.errors)}
        return json.dumps({"connections": self.versions.total() + self.errors.total(), **counted}, sort_keys=True)


def count(arguments: argparse.Namespace) -> None:
    """Open the given number of connections, or until a file appears, and print the tally."""
    tally, tickets, lock = Tally(), itertools.count(), threading.Lock()

    def work() -> None:
        while not (arguments.until and arguments.until.exists()):
            with lock:
                if next(tickets) >= arguments.connections:
                    return
            try:
                tally.add(ask(arguments.host, arguments.port, arguments.timeout))
            except OSError as error:
                tally.fail(error)
            time.sleep(arguments.pause)

    with ThreadPoolExecutor(arguments.workers) as pool:
        for future in [pool.submit(work) for _ in range(arguments.workers)]:
            future.result()
    print(tally.as_json())


def hold(arguments: argparse.Namespace) -> None:
    """Keep one connection in use until it breaks or a file appears, and print how it ended."""
    began, echoes, line, end = time.monotonic(), 0, "", "stopped"
    try:
        with socket.create_connection((arguments.host, arguments.port), timeout=arguments.timeout) as connection:
            line = line_of(connection)
            # The caller waits for this line.
            print(json.dumps({"line": line}), flush=True)
            while not (arguments.until and arguments.until.exists()):
                connection.sendall(b"ping\n")
                line_of(connection)
                echoes += 1
                time.sleep(arguments.pause)
    except OSError as error:
        end = f"{type(error).__name__}: {error}"
    print(json.dumps({"line": line, "seconds": round(time.monotonic() - began, 1), "echoes": echoes, "end": end}))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer on PORT")
    for name, pause in (("count", 0.0), ("hold", 0.2)):
        client = commands.add_parser(name)
        client.add_argument("host")
        client.add_argument("port", type=int)
        client.add_argument("--timeout", type=float, default=5, help="seconds that one connection may take")
        client.add_argument("--until", type=Path, metavar="FILE", help="stop once this file exists")
        client.add_argument("--pause", type=float, default=pause, help="seconds between two uses")
        if name == "count":
            client.add_argument("connections", type=int)
            client.add_argument("--workers", type=int, default=8)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    arguments = parse()
    if arguments.command == "serve":
        asyncio.run(serve(int(os.environ.get("PORT", "9000"))))
    elif arguments.command == "count":
        count(arguments)
    else:
        hold(arguments)


if __name__ == "__main__":
    main()
