from __future__ import annotations

from pathlib import Path

import pytest

from tests.held.report import text


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the tests of tests/held counted, in whichever processes they ran."""
    calls = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    if counted := text([found for report in calls for found in report.user_properties]):
        terminalreporter.section("connections through change")
        terminalreporter.write_line(counted)
        file = Path(config.rootpath, "build", "held.txt")
        file.parent.mkdir(exist_ok=True)
        file.write_text(counted + "\n")
