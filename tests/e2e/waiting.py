"""Waiting for what a cluster does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.e2e.kubectl import KubectlError

T = TypeVar("T")

# Two cores make and roll a proxy in 10 to 20 s; a busy machine takes several times as long.
PATIENCE_SECONDS = 150


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    describe: Callable[[], str] | None = None,
) -> T:
    """Return the condition's value once it is true. Raises AssertionError with ``describe()`` after PATIENCE_SECONDS.

    A kubectl that fails counts as not yet: what is waited for may not exist.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    last: object = None
    while True:
        try:
            if last := condition():
                return last
        except KubectlError as error:
            last = error
        if time.monotonic() > end:
            described = f"\n{describe()}" if describe else ""
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what} (last seen: {last!r}){described}")
        time.sleep(0.5)
