"""How long to wait after a failure: exponential, bounded, with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

# 2 to this power exceeds any cap that makes sense, and a float still holds it.
_MAX_DOUBLINGS = 32


@dataclass(frozen=True)
class Backoff:
    """Waits that double from `base` to `cap`, both in seconds."""

    base: float
    cap: float

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after the given number of failures in a row (1 for the first).

        Up to a quarter is taken off at random, so that what failed together does not come back together; never less
        than the base.
        """
        ceiling = min(self.cap, self.base * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        spread = random.uniform(0.75, 1.0)  # noqa: S311 -- jitter guards nothing
        return max(self.base, ceiling * spread)
