"""Socket options with which the kernel finds out that the host at the other end of a connection is gone."""

import socket

_PROBES = 3

SocketOption = tuple[int, int, int]
"""Level, option and value."""


def keepalive(seconds: int) -> list[SocketOption]:
    """A connection ends after so many seconds without a sign of the other host; `seconds` is at least 6.

    Keepalive finds it while nothing is under way, and the time-out if something was sent.
    """
    idle = seconds // 2
    tcp = {
        # urllib3 sets this one, unless it is given others.
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPINTVL": idle // _PROBES,
        "TCP_KEEPCNT": _PROBES,
        "TCP_USER_TIMEOUT": seconds * 1000,
    }
    # macOS does not have all of them.
    known = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in tcp.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *known]
