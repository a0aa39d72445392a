"""Holds connections that have carried some bytes until its input ends: `hold.py PORT CONNECTIONS`."""

import socket
import sys


def main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    held = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        # The beginning of a request, which the pod waits for the rest of.
        connection.sendall(b"GET / HTTP/1.1\r\n")
        held.append(connection)
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
