"""Prints which pods answer: `count.py PORT CONNECTIONS`, one connection after the other."""

import json
import socket
import sys


def ask(port: int) -> str:
    """The address of the pod that answers; nothing where none does."""
    try:
        with socket.socket() as connection:
            connection.settimeout(10)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /who HTTP/1.0\r\n\r\n")
            answer = b""
            # Read to the end: the pod closes first, and no local port stays in TIME_WAIT.
            while data := connection.recv(4096):
                answer += data
    except OSError:
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def main() -> None:
    port, connections = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps([ask(port) for _ in range(connections)]))


if __name__ == "__main__":
    main()
