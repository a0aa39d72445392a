"""Programs in the network namespaces of the measurements."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.namespaces import Namespace, namespace
from tests.bench.test_bench_smoke import can_run

pytestmark = pytest.mark.skipif(not can_run(), reason="needs root on Debian, and network namespaces")

_PORTS = "from tests.modern.server import free_ports; print(*free_ports(200))"


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def test_no_outgoing_connection_takes_the_port_of_an_api_server(inside: Namespace) -> None:
    first, _ = map(int, inside.run("cat", "/proc/sys/net/ipv4/ip_local_port_range").split())
    ports = map(int, inside.run(sys.executable, "-c", _PORTS).split())
    assert max(ports) < first


def test_a_failure_shows_what_the_program_has_written(inside: Namespace) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        inside.run("sh", "-c", "echo the reason >&2; exit 3")
    assert failure.value.__notes__ == ["the reason\n"]
