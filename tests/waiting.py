"""Waiting for what happens in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that nothing takes when the test passes, however busy the machine is."""


def await_that(
    condition: Callable[[], T], what: str | Callable[[], str] = "the condition", seconds: float = PATIENCE
) -> T:
    """The value of the condition, once it is true. Raises AssertionError with `what`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)  # between two looks, not instead of a condition
    return found
