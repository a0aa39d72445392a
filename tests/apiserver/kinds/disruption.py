"""PodDisruptionBudgets: one of the two limits, not both."""

from __future__ import annotations

from ..errors import Cause, Object, value_invalid
from ..storage import Storage


def check(new: Object, old: Object | None, storage: Storage) -> list[Cause]:
    spec = new.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [value_invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    return []
