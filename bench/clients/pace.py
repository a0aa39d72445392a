"""Opens connections at a fixed rate, independent of earlier ones: `pace.py PORT RATE SECONDS`.

Prints the milliseconds from each connect to its first byte, and how many connections failed.
"""

import gc
import json
import select
import socket
import sys
import time
from collections import deque

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
PATIENCE = 5.0


class Pace:
    """Open connections, each with its start time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.began: dict[socket.socket, float] = {}
        self.connecting: set[socket.socket] = set()
        self.answered: set[socket.socket] = set()
        self.milliseconds: list[float] = []
        self.failed = 0

    def open(self) -> None:
        """Begins one more."""
        connection = socket.socket()
        connection.setblocking(False)
        self.began[connection] = time.monotonic()
        self.connecting.add(connection)
        connection.connect_ex(("127.0.0.1", self.port))

    def turn(self, seconds: float) -> None:
        """Handles what happens within this time."""
        readable, writable, _ = select.select(self.began.keys() - self.connecting, self.connecting, (), seconds)
        now = time.monotonic()
        for connection in writable:
            self._send(connection)
        for connection in readable:
            self._read(connection, now)

    def _send(self, connection: socket.socket) -> None:
        self.connecting.discard(connection)
        try:
            connection.send(REQUEST)
        except OSError:
            self._end(connection)

    def _read(self, connection: socket.socket, now: float) -> None:
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        if not data:
            # Close only now: the pod closed first, and no local port stays in TIME_WAIT.
            self._end(connection)
        elif connection not in self.answered:
            self.answered.add(connection)
            self.milliseconds.append((now - self.began[connection]) * 1000)

    def _end(self, connection: socket.socket) -> None:
        self.failed += connection not in self.answered
        self.answered.discard(connection)
        del self.began[connection]
        connection.close()


def main() -> None:
    port, rate, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    gc.disable()
    pace = Pace(port)
    start = time.monotonic()
    due = deque(start + number / rate for number in range(int(rate * seconds)))
    while due or (pace.began and time.monotonic() < start + seconds + PATIENCE):
        while due and due[0] <= time.monotonic():
            due.popleft()
            pace.open()
        pace.turn(max(0.0, due[0] - time.monotonic()) if due else 0.1)
    print(json.dumps({"milliseconds": pace.milliseconds, "failed": pace.failed + len(pace.began)}))


if __name__ == "__main__":
    main()
