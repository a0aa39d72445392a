"""Durations as users write them: `90s`, `10m`, `1h30m`, `2d`."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from states.timing import duration_text

DURATION = r"^([1-9][0-9]{0,2}d)?([1-9][0-9]{0,3}h)?([1-9][0-9]{0,5}m)?([1-9][0-9]{0,7}s)?$"
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART = re.compile(r"(\d+)([dhms])")
LONGEST = timedelta(days=365)
VALID_DURATION = "a duration such as 30s, 10m or 1h30m, from 1s to 365d"


def read_duration(value: object) -> timedelta:
    """The duration that a text stands for, from 1 second to 365 days. Raises ValueError for anything else."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and value and re.fullmatch(DURATION, value):
        duration = timedelta(**{_UNITS[unit]: int(count) for count, unit in _PART.findall(value)})
        if duration <= LONGEST:
            return duration
    raise ValueError(f"{value!r} is not {VALID_DURATION}")


Duration = Annotated[
    timedelta,
    PlainValidator(read_duration),
    PlainSerializer(duration_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION, "minLength": 2, "maxLength": 32}),
]
"""In whole seconds; in JSON text such as `10m`."""
