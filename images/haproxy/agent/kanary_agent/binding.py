"""Whether HAProxy could listen where a configuration says, which `haproxy -c` does not try.

A reload that cannot bind costs connections: for two seconds HAProxy asks its former worker to release the ports, and
nobody listens. IPv6 on a node without it is such a case.
"""

import re
import socket

_BIND = re.compile(r"^\s*bind\s+\[?([\d.:a-fA-F]*?)\]?:(\d+)(?:\s|$)", re.MULTILINE)


def obstacle(text: str, former: str) -> str:
    """What is wrong with an address that `text` binds, and that `former` does not: those are bound already."""
    for host, port in _addresses(text) - _addresses(former):
        try:
            _try(host, port)
        except OSError as error:
            return f"HAProxy could not listen on port {port} of {host or 'this host'}: {error}"
    return ""


def _addresses(text: str) -> set[tuple[str, int]]:
    return {(host, int(port)) for host, port in _BIND.findall(text)}


def _try(host: str, port: int) -> None:
    """Binds without listening, as one more of those that share the port: it takes no connection from anybody."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if attempt.family is socket.AF_INET6:
            attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        attempt.bind((host, port))
