"""The candidates: Kanary and its peers."""

from bench.peers.haproxy import INTEGER_WEIGHTS, KANARY, PLAIN, PLAIN_AGAIN, TRUNCATED_WEIGHTS
from bench.peers.kernel import IPTABLES, IPVS
from bench.peers.nginx import NGINX
from bench.peers.peer import Peer, UnavailableError

KERNEL: tuple[Peer, ...] = (IPTABLES, IPVS)
"""Those without a process."""
PEERS: tuple[Peer, ...] = (PLAIN, PLAIN_AGAIN, KANARY, NGINX, TRUNCATED_WEIGHTS, INTEGER_WEIGHTS, *KERNEL)
SPLITTERS = tuple(peer for peer in PEERS if peer not in (PLAIN, PLAIN_AGAIN))
"""Those that support weights."""

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
    "Peer",
    "UnavailableError",
]
