"""The kernel parameters of the proxies' pods.

Keepalive times that apply to the whole pod replace six socket options of each connection: two sides of three options.
The range of source ports limits the connections that a proxy may have to one server.

A kubelet rejects a pod with a parameter that it does not consider safe (SysctlForbidden), and it may be three minor
versions older than the API server (https://kubernetes.io/releases/version-skew-policy/). The version of the API server
therefore decides: nodes need not be read.
"""

import re
from collections.abc import Mapping

KEEPALIVE_SECONDS = 120
"""Time without a byte before the first probe."""
KEEPALIVE_INTERVAL_SECONDS = 30
KEEPALIVE_PROBES = 4
"""Probes without an answer after which a connection is closed."""

_RANGE = "net.ipv4.ip_local_port_range"
_DEFAULT_RANGE = "32768 60999"
_PORTS = {
    # Twice as many ports as the kernel's default. Listening ports are below it, those of common sidecars as well: a
    # restarted container could not listen on a port that a connection has taken.
    _RANGE: "16384 65535",
}
_KEEPALIVE = {
    "net.ipv4.tcp_keepalive_time": str(KEEPALIVE_SECONDS),
    "net.ipv4.tcp_keepalive_intvl": str(KEEPALIVE_INTERVAL_SECONDS),
    "net.ipv4.tcp_keepalive_probes": str(KEEPALIVE_PROBES),
}
ALL_SYSCTLS: Mapping[str, str] = {**_PORTS, **_KEEPALIVE}
"""Each parameter and its value."""

_KEEPALIVE_SINCE = 1, 32
"""Kubelets of 1.29 and later accept the keepalive times. Every kubelet accepts the range of ports."""


def sysctls_for(version: str) -> Mapping[str, str]:
    """The parameters that every kubelet accepts beside an API server of this version, such as `v1.32.1+k3s1`.

    An unknown version counts as an old one.
    """
    found = re.match(r"v?(\d+)\.(\d+)", version)
    is_new = found is not None and (int(found[1]), int(found[2])) >= _KEEPALIVE_SINCE
    return ALL_SYSCTLS if is_new else _PORTS


def has_keepalive(sysctls: Mapping[str, str]) -> bool:
    """Whether these parameters set the keepalive times of the pod's connections."""
    return sysctls.keys() >= _KEEPALIVE.keys()


def source_ports(sysctls: Mapping[str, str]) -> int:
    """How many connections a pod with these parameters can have to one address and port at the same time."""
    first, last = map(int, sysctls.get(_RANGE, _DEFAULT_RANGE).split())
    return last - first + 1
