from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.haproxy.pods import Pods
from tests.haproxy.proxies import HAPROXY


@pytest.fixture(scope="session", autouse=True)
def _haproxy() -> None:
    """Has HAProxy unpacked, where it is not installed, before anything waits for one to start."""
    subprocess.run([HAPROXY, "-v"], check=True)


@pytest.fixture
def pods() -> Iterator[Pods]:
    with Pods() as running_pods:
        yield running_pods
