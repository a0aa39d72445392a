"""A Service as kube-proxy makes one: a virtual address, and rules that send each new connection to some endpoint.

An established connection stays with its endpoint whatever becomes of the rules: the kernel tracks it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from tests.held.namespace import apply_rules

ADDRESS = "127.96.0.1"
PORT = 80
CHAIN = "KANARY-SERVICE"

LAG_SECONDS = 1.0
"""How long after a change of the endpoints the slowest node may hear of it."""


class Service:
    """The Service in the network of the calling thread. Its endpoints are ports on 127.0.0.1.

    There is one node, and it hears late: that is where all clients are.
    """

    def __init__(self, *ports: int) -> None:
        apply_rules(_rules(ports, f"-A OUTPUT -d {ADDRESS}/32 -p tcp --dport {PORT} -j {CHAIN}"))
        self._ports = ports

    def send_to(self, *ports: int) -> None:
        """The node has heard that these are the endpoints now."""
        apply_rules(_rules(ports))
        self._ports = ports

    def hear_late(self, ports: Sequence[int], lag: float = LAG_SECONDS) -> threading.Timer:
        """The node hears of these endpoints after the lag; to be joined."""
        timer = threading.Timer(lag, self.send_to, ports)
        timer.start()
        return timer


def _rules(ports: Sequence[int], *more: str) -> str:
    # Declaring a chain empties it. All of this is one transaction.
    return "\n".join(["*nat", f":{CHAIN} - [0:0]", *_choices(ports), *more, "COMMIT"]) + "\n"


def _choices(ports: Sequence[int]) -> Iterator[str]:
    """Without an endpoint there is no rule, and nobody listens at the address itself: clients are refused."""
    for left, port in zip(range(len(ports), 0, -1), ports, strict=True):
        chance = f" -m statistic --mode random --probability {1 / left:.6f}" if left > 1 else ""
        yield f"-A {CHAIN}{chance} -p tcp -j DNAT --to-destination 127.0.0.1:{port}"
