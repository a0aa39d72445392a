"""PodDisruptionBudgets: a minimum or a maximum, not both."""

from __future__ import annotations

from ..errors import Cause, Object, value_invalid


def check(new: Object, old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return [value_invalid("spec", "PodDisruptionBudgetSpec", "minAvailable and maxUnavailable cannot be both set")]
    return []
