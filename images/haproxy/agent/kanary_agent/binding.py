"""Tests whether HAProxy can bind the addresses of a configuration. `haproxy -c` does not.

A reload that cannot bind loses connections: for two seconds HAProxy requests the ports from its former worker, and no
process listens. An example is IPv6 on a node without it.
"""

import re
import socket

_BIND = re.compile(r"^\s*bind\s+\[?([\d.:a-fA-F]*?)\]?:(\d+)(?:\s|$)", re.MULTILINE)


def bind_problem(text: str, former: str) -> str:
    """Why an address of `text` cannot be bound, or ''. The addresses of `former` are not tested: HAProxy has them."""
    for host, port in _addresses(text) - _addresses(former):
        try:
            _try(host, port)
        except OSError as error:
            return f"HAProxy cannot listen on port {port} of {host or 'this host'}: {error.strerror or error}"
    return ""


def _addresses(text: str) -> set[tuple[str, int]]:
    return {(host, int(port)) for host, port in _BIND.findall(text)}


def _try(host: str, port: int) -> None:
    """Bind without listening and with SO_REUSEPORT: this takes no connection from a process that listens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if attempt.family is socket.AF_INET6:
            attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        attempt.bind((host, port))
