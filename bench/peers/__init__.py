"""The candidates: Kanary and its peers."""

from bench.peers.haproxy import (
    INTEGER_WEIGHTS,
    KANARY,
    PLAIN,
    PLAIN_AGAIN,
    TRUNCATED_WEIGHTS,
    WITHOUT_KEEPALIVE,
)
from bench.peers.kernel import IPTABLES, IPVS
from bench.peers.nginx import NGINX
from bench.peers.peer import Peer, UnavailableError

KERNEL: tuple[Peer, ...] = (IPTABLES, IPVS)
"""Those without a process."""
SPLITTERS: tuple[Peer, ...] = (KANARY, NGINX, TRUNCATED_WEIGHTS, INTEGER_WEIGHTS, *KERNEL)
"""Those that support weights."""
PEERS: tuple[Peer, ...] = (PLAIN, PLAIN_AGAIN, WITHOUT_KEEPALIVE, *SPLITTERS)

__all__ = [
    "INTEGER_WEIGHTS",
    "IPTABLES",
    "IPVS",
    "KANARY",
    "KERNEL",
    "NGINX",
    "PEERS",
    "PLAIN",
    "PLAIN_AGAIN",
    "SPLITTERS",
    "TRUNCATED_WEIGHTS",
    "WITHOUT_KEEPALIVE",
    "Peer",
    "UnavailableError",
]
