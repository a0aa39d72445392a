"""Base of the models: frozen, camelCase in JSON, and with times as in the Kubernetes API."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


def _in_utc(time: datetime) -> datetime:
    try:
        time = time.astimezone(UTC)
    except OverflowError as error:  # within hours of the first or last representable time
        raise ValueError("out of range") from error
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    AwareDatetime, AfterValidator(_in_utc), PlainSerializer(_text, return_type=str, when_used="json-unless-none")
]
"""A time in UTC, cut to the millisecond: RFC 3339 in JSON, such as `2026-11-23T14:02:10.250Z`."""


class Shape(BaseModel):
    """Base of all models. Unknown fields are ignored unless a model says otherwise."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )
