"""The plausible values of a stored state: users who may edit a status or a ConfigMap can write any."""

from collections.abc import Mapping
from typing import Any

_LIMITS = {
    **dict.fromkeys(("revision", "generation", "observedGeneration", "step"), 2**31),
    **dict.fromkeys(("seconds", "waitedSeconds"), 10**9),
    **dict.fromkeys(("serial", "splitSerial"), 2**52),
}
"""By field. There is room for each to be counted on before a limit of the models."""
_LIMIT = 2**53
"""Of all others: the largest integer that JSON represents exactly."""
_LEVELS = 100
"""Of objects and lists in one another."""


def is_plausible(raw: Any, field: str = "", levels: int = _LEVELS) -> bool:
    """Whether each number in this JSON is within its limit, and so are the levels. No number is negative or NaN."""
    if isinstance(raw, (int, float)):
        return 0 <= raw < _LIMITS.get(field, _LIMIT)
    if isinstance(raw, Mapping):
        return levels > 0 and all(is_plausible(value, str(key), levels - 1) for key, value in raw.items())
    if isinstance(raw, (list, tuple)):
        return levels > 0 and all(is_plausible(value, field, levels - 1) for value in raw)
    return True
