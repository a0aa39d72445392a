"""The entries of a Kanary's history, as documents with a kind: in its status, the database, the HTTP API and the CLI.

All four use the same models. A new field appears in all of them, and a new kind needs no migration. Readers preserve
what they do not support: an entry of an unknown kind is an `Entry`, and unknown fields are kept.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from engine.model.shape import Shape, Time
from engine.model.weight import Weight


class Share(Shape):
    """A backend and its share of the connections."""

    backend: str
    """Service and port of the backend, as `str(Backend)` writes them, such as `myapp-v1:http`."""
    weight: Weight
    """In percent, with at most one decimal."""


class Entry(Shape):
    """One event in the life of a Kanary."""

    model_config = ConfigDict(extra="allow")

    number: int
    """Counts the entries of a Kanary, from 1, whatever their kind."""
    at: Time
    kind: str


class WeightChange(Entry):
    """New weights were decided. The entry is written before any proxy receives them."""

    kind: Literal["WeightChange"] = "WeightChange"
    revision: int
    """Counts the weight changes of a Kanary, from 1."""
    generation: int
    """Generation of the spec that declared them."""
    before: tuple[Share, ...] = ()
    """The weights last written for the proxies before; empty for the first."""
    after: tuple[Share, ...]
    cause: str
    """The annotation kubernetes.io/change-cause if it changed with the weights, else `created` or `spec changed`."""
    author: str = ""
    """Field manager that last wrote the routes; empty if the API server does not report it."""
    digest: str | None = None
    """Digest of the first configuration with these weights."""
    rollout: int | None = None
    """Number of the rollout that decided them; absent without one."""
    step: str | None = None
    """The step of that rollout, such as `2/4 10%`."""


class Result(StrEnum):
    """How a weight change ended. Newer versions may write others."""

    READY = "Ready"
    """Every proxy serves it."""
    SUPERSEDED = "Superseded"
    """The next change came first."""
    DELETED = "Deleted"
    """The Kanary was deleted first."""


class ChangeResult(Entry):
    """A weight change ended."""

    kind: Literal["ChangeResult"] = "ChangeResult"
    revision: int
    result: str
    """A `Result`, or a value of a newer version."""
    seconds: float = Field(allow_inf_nan=False)
    """Time since the change was decided."""


class PhaseChange(Entry):
    """The state machine moved."""

    kind: Literal["PhaseChange"] = "PhaseChange"
    source: str = Field(alias="from")
    """Phase before."""
    to: str
    """Phase after."""
    trigger: str
    """Row of the transition table that was taken."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, in a sentence."""
    revision: int | None = None
    """Revision of the target weights; null before the first."""


class RolloutChange(Entry):
    """The state machine of a rollout moved."""

    kind: Literal["RolloutChange"] = "RolloutChange"
    rollout: int
    """Counts the rollouts of a Kanary."""
    source: str = Field(alias="from")
    """State before."""
    to: str
    """State after."""
    trigger: str
    """Row of the transition table that was taken."""
    step: str
    """The step before that, such as `2/4 10%`."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, in a sentence, with the evidence in numbers."""


KINDS: Mapping[str, type[Entry]] = {
    kind.model_fields["kind"].default: kind for kind in (WeightChange, ChangeResult, PhaseChange, RolloutChange)
}


def read_entry(raw: Mapping[str, Any]) -> Entry:
    """An entry from its JSON, as the model of its kind; an unknown kind as a plain `Entry` with all its fields.

    Raises pydantic.ValidationError if it is not an entry.
    """
    model = KINDS.get(str(raw.get("kind")), Entry)
    try:
        return model.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError:  # a newer version may give the kind other fields
        return Entry.model_validate(raw, by_alias=True, by_name=False)


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as JSON, unknown fields included."""
    return entry.model_dump(mode="json", by_alias=True, exclude_none=True)


class Configuration(Shape):
    """A configuration of the proxies, identified by the digest in weight changes."""

    digest: str
    text: str
    """The whole haproxy.cfg."""
    endpoints: dict[str, tuple[str, ...]]
    """Ready endpoints of each backend at that time, as `address:port`."""
