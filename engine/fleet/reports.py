"""What the agent beside a running HAProxy reports."""

from collections.abc import Mapping
from dataclasses import dataclass

_MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Report:
    """What one proxy reports about itself."""

    digest: str
    """The configuration that it serves; empty while HAProxy does not answer."""
    refused_digest: str = ""
    """The configuration that HAProxy rejects, where there is one."""
    refusal: str = ""
    """HAProxy's own words about that."""
    draining: int = 0
    """HAProxy processes that only serve connections from before a reload."""
    connections: int = 0
    max_connections: int = 0
    """How many connections it can hold at once, whatever was configured."""
    problem: str = ""
    """What else keeps it from serving what is mounted."""


def read_report(raw: object) -> Report:
    """A report from the agent's JSON. Raises ValueError for anything that is none."""
    if not isinstance(raw, Mapping):
        raise ValueError("a report is an object")  # noqa: TRY004  to the caller one kind of nonsense is as another
    refused = raw.get("refused") or {}
    if not isinstance(refused, Mapping):
        raise ValueError("refused is no object")  # noqa: TRY004  as above
    return Report(
        digest=_text(raw.get("digest")),
        refused_digest=_text(refused.get("digest")),
        refusal=_text(refused.get("message")),
        draining=_count(raw.get("draining")),
        connections=_count(raw.get("connections")),
        max_connections=_count(raw.get("maxConnections")),
        problem=_text(raw.get("problem")),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004  as above
    return " ".join(value.split())[:_MAX_TEXT]


def _count(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
