from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from kanary.dashboard.serve import LocalDashboard
from tests.apiserver import ApiServer
from tests.dashboard.stage import Stage, Visitor

Visit = Callable[[], Visitor]

TOOL = Path(__file__).parents[1] / "tools" / "chromium"
_MISSING = 3


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ApiServer() as server, ExitStack() as stack:
        yield Stage(server, tmp_path, stack)


@pytest.fixture
def dashboard(stage: Stage) -> Iterator[LocalDashboard]:
    with stage.dashboard() as dashboard:
        yield dashboard


@pytest.fixture
def visitor(dashboard: LocalDashboard) -> Visitor:
    return Visitor(dashboard).admitted()


@pytest.fixture
def visit(stage: Stage) -> Iterator[Visit]:
    """Starts a dashboard, which shows what there is by then, and returns a visitor."""
    with ExitStack() as stack:
        yield lambda: Visitor(stack.enter_context(stage.dashboard())).admitted()


@pytest.fixture(scope="session")
def _chromium() -> list[str]:
    """The paths of Chromium and of its driver."""
    made = subprocess.run([TOOL], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode == _MISSING:
        pytest.skip("there is no Chromium with chromedriver on this machine")
    assert made.returncode == 0
    return made.stdout.split()


@pytest.fixture
def chrome(_chromium: list[str], tmp_path: Path) -> Iterator[Chrome]:
    """A browser without a screen; each test has its own profile."""
    browser, driver = _chromium
    options = ChromeOptions()
    options.binary_location = browser
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    # Root has no sandbox, and /dev/shm of a container is small.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", profile):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, Service(driver))
    chrome.set_window_size(1280, 900)
    yield chrome
    # The policy of the page forbids what it does not need, and the browser logs what it refuses.
    problems = [each["message"] for each in chrome.get_log("browser") if each["level"] == "SEVERE"]
    chrome.quit()
    assert [each for each in problems if "Content Security Policy" in each or "Uncaught" in each] == []
