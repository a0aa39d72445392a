from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.haproxy.pods import Pods
from tests.haproxy.proxies import HAPROXY
from tests.held.namespace import own_network, why_not
from tests.held.report import Report

REPORT = pytest.StashKey[Report]()


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
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if text := config.stash.get(REPORT, Report()).text():
        terminalreporter.section("connections through change")
        terminalreporter.write_line(text)
        file = Path(config.rootpath, "build", "held.txt")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n")
