from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.haproxy.pods import Pods
from tests.haproxy.proxies import HAPROXY
from tests.held.namespace import own_network, why_not
from tests.held.report import Report
from tests.tables import Tell


@pytest.fixture(scope="session")
def _able() -> None:
    """Has what is missing installed before the network is cut off."""
    if reason := why_not():
        pytest.skip(reason)
    subprocess.run([HAPROXY, "-v"], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(autouse=True)
def _network(_able: None) -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture
def pods(_network: None) -> Iterator[Pods]:
    with Pods() as running_pods:
        yield running_pods


@pytest.fixture
def report(tell: Tell) -> Report:
    return Report(tell)
