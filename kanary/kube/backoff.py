"""How long to wait after a failure: exponential, bounded, with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

# 2 to this power exceeds every reasonable cap, and fits into a float.
_MAX_DOUBLINGS = 32


@dataclass(frozen=True)
class Backoff:
    """Waits that double from `base` to `cap`, both in seconds."""

    base: float
    cap: float

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after the given number of failures in a row (1 for the first).

        Jitter subtracts up to a quarter, so that clients that failed together do not retry together; the result is
        never less than the base.
        """
        ceiling = min(self.cap, self.base * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        spread = random.uniform(0.75, 1.0)  # noqa: S311 -- jitter is no secret
        return max(self.base, ceiling * spread)
