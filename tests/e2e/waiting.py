"""Waiting for what a cluster does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.e2e.kubectl import KubectlError

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    deadline: float = 60,
    describe: Callable[[], str] | None = None,
    interval: float = 0.5,
) -> T:
    """Return the condition's value once it is true. Raises AssertionError with ``describe()`` after ``deadline`` s.

    A kubectl that fails counts as not yet: what is waited for may not exist.
    """
    end = time.monotonic() + deadline
    last: object = None
    while True:
        try:
            if last := condition():
                return last
        except KubectlError as error:
            last = error
        if time.monotonic() > end:
            described = f"\n{describe()}" if describe else ""
            raise AssertionError(f"not within {deadline:g} s: {what} (last seen: {last!r}){described}")
        time.sleep(interval)
