"""Connects to a port until a pod answers, and prints when: `ready.py PORT SECONDS`.

With a third word, `listens`, being connected is enough: not every pod answers a question.
"""

import json
import socket
import sys
import time


def answers(port: int, listens: bool) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if listens:
                return True
            connection.sendall(b"GET /who HTTP/1.0\r\n\r\n")
            return connection.recv(1) != b""
    except OSError:
        return False


def main() -> None:
    port, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    listens = "listens" in sys.argv[3:]
    print("trying", flush=True)
    while not answers(port, listens):
        if time.monotonic() > end:
            sys.exit(f"nothing answers at port {port}")
        time.sleep(0.0005)
    print(json.dumps(time.monotonic()))


if __name__ == "__main__":
    main()
