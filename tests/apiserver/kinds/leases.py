"""Leases: positive durations, and times with the six fractional digits that MicroTime demands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import Cause, Object, bad_request, value_invalid
from ..storage import Storage

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[-+]\d\d:\d\d)")


def check(new: Object, old: Object | None, storage: Storage) -> list[Cause]:
    spec = new.get("spec") or {}
    for key in ("acquireTime", "renewTime"):
        check_micro_time(spec.get(key), "Lease")
    return list(_check(spec))


def check_micro_time(text: str | None, kind: str) -> None:
    """Raises ApiError 400 for a time that does not decode."""
    if text is not None and not _MICRO_TIME.fullmatch(text):
        layout = "2006-01-02T15:04:05.000000Z07:00"
        raise bad_request(
            f'{kind} in version "v1" cannot be handled as a {kind}: parsing time "{text}" as "{layout}": cannot parse'
        )


def _check(spec: Object) -> Iterator[Cause]:
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        yield value_invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    transitions = spec.get("leaseTransitions")
    if transitions is not None and transitions < 0:
        yield value_invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")
