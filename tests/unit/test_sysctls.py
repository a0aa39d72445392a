"""Which kernel parameters the proxies' pods have."""

import pytest

from engine.render.config import OPS_PORT, SPLIT_PORT
from engine.render.pods import AGENT_PORT
from engine.render.sysctls import ALL_SYSCTLS, has_keepalive, sysctls_for

PORT_RANGE = "net.ipv4.ip_local_port_range"


@pytest.mark.parametrize(
    ("version", "keepalive"),
    [
        ("v1.20.2", False),
        ("v1.31.14", False),
        ("v1.32.0", True),
        ("v1.33.1+k3s1", True),
        ("v1.34.2-gke.1000", True),
        ("v1.100.0", True),
        ("v2.0.0", True),
        ("unknown", False),
        ("", False),
    ],
)
def test_the_pod_has_the_keepalive_times_if_the_oldest_possible_kubelet_accepts_them(
    version: str, keepalive: bool
) -> None:
    """They are safe sysctls since 1.29, and a kubelet may be three minor versions older than the API server."""
    assert has_keepalive(sysctls_for(version)) is keepalive


@pytest.mark.parametrize("version", ["v1.20.2", "v1.36.0", "unknown"])
def test_the_range_of_source_ports_is_set_in_every_cluster(version: str) -> None:
    assert PORT_RANGE in sysctls_for(version)


def test_no_source_port_is_one_that_the_pod_listens_on() -> None:
    """A connection that has taken such a port would keep a restarted container from listening."""
    first, last = map(int, ALL_SYSCTLS[PORT_RANGE].split())
    assert max(SPLIT_PORT, OPS_PORT, AGENT_PORT) < first < last < 2**16


def test_a_lost_peer_is_detected_within_four_minutes() -> None:
    idle, interval, probes = (
        int(ALL_SYSCTLS[f"net.ipv4.tcp_keepalive_{name}"]) for name in ("time", "intvl", "probes")
    )
    assert idle + interval * probes <= 240
