"""Waiting for a condition."""

import time
from collections.abc import Callable

WAIT = 30.0  # seconds that no test takes when it passes


def wait_until(condition: Callable[[], object], seconds: float = WAIT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
