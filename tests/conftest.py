from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import tables

# A shell has what it starts in the background ignore it, and so would the commands under test, which it is to end.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine an example may be slow without a defect.
settings.register_profile("kanary", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kanary")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """A command that runs in this process may change what is logged: later tests on it need that as it was."""
    before = _levels()
    result = yield
    for name, level in _levels().items():
        if level != before.get(name, logging.NOTSET):
            logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))
    return result


def _levels() -> dict[str, int]:
    loggers = logging.root.manager.loggerDict
    return {name: logger.level for name, logger in [*loggers.items()] if isinstance(logger, logging.Logger)}


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> tables.Tell:
    """Adds rows to the tables that are printed when all tests have run."""
    return tables.Tell(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What tests measured, in whichever processes they ran."""
    calls = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    if measured := tables.text([found for report in calls for found in report.user_properties]):
        terminalreporter.section("measured")
        terminalreporter.write_line(measured)
        file = Path(config.rootpath, "build", "tables.txt")
        file.parent.mkdir(exist_ok=True)
        file.write_text(measured + "\n")
