"""Leases: times with the six fractional digits that MicroTime demands."""

from __future__ import annotations

import re

from ..errors import Cause, Object, bad_request

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[-+]\d\d:\d\d)")


def check(new: Object, old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    for key in ("acquireTime", "renewTime"):
        text = spec.get(key)
        if text is not None and not _MICRO_TIME.fullmatch(text):
            layout = "2006-01-02T15:04:05.000000Z07:00"
            raise bad_request(
                f'Lease in version "v1" cannot be handled as a Lease: parsing time "{text}" as "{layout}": cannot parse'
            )
    return []
