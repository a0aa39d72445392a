"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

from .storage import copy_of


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with the patch merged in; null removes. Neither is changed."""
    if not isinstance(patch, dict):
        return copy_of(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
