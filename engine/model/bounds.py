"""Which numbers of a stored state are plausible: whoever may edit a status or a ConfigMap can write any."""

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


def is_plausible(raw: Any, field: str = "") -> bool:
    """Whether each number in this JSON is within its limit. None is negative, and NaN is no number."""
    if isinstance(raw, (int, float)):
        return 0 <= raw < _LIMITS.get(field, _LIMIT)
    if isinstance(raw, Mapping):
        return all(is_plausible(value, str(key)) for key, value in raw.items())
    if isinstance(raw, (list, tuple)):
        return all(is_plausible(value, field) for value in raw)
    return True
