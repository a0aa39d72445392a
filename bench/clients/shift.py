"""Connects to HOST PORT again and again and prints which version answered, and when.

    python3 shift.py HOST PORT SECONDS

Prints a line as soon as it has its first answer. Its last line, of JSON, holds for each version {"first": when the
first connection that it answered was opened, "last": when the last one was, "count": how many}. A connection that fails
counts as version "error".
"""

import json
import socket
import sys
import time


def ask(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            return connection.makefile().readline().split(" ")[0] or "error"
    except OSError:
        return "error"


def main(host: str, port: int, seconds: float) -> None:
    seen: dict[str, dict[str, float]] = {}
    end = time.time() + seconds
    while (now := time.time()) < end:
        one = seen.setdefault(ask(host, port), {"first": now, "last": now, "count": 0})
        one["last"], one["count"] = now, one["count"] + 1
        if len(seen) == one["count"] == 1:
            print("connected", flush=True)
        time.sleep(0.002)
    print(json.dumps(seen), flush=True)


main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
