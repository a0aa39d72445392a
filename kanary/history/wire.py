"""The record as JSON: what the operator answers, what `HttpSource` reads, and what the API's description says.

Field names are written as in the Kubernetes API, times are RFC 3339 in UTC to the microsecond. Who reads ignores fields
that it does not know, so that a newer operator may say more.
"""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kanary.history import model

Time = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Number = Annotated[int, Field(json_schema_extra={"format": "int64"})]


class Shape(BaseModel):
    """Base of all that is answered."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        from_attributes=True,
        use_attribute_docstrings=True,
    )

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        return self.model_dump_json(by_alias=True).encode()


class Error(Shape):
    """Why there is no answer."""

    reason: str
    """One word, for programs."""
    message: str
    """One line, with the way out, for people."""


class Kanary(Shape):
    """A Kanary that the record has something of."""

    uid: str
    """Tells apart those that had the same name one after the other."""
    namespace: str
    name: str
    first_seen: Time
    deleted_at: Time | None
    """Null while it exists."""

    def record(self) -> model.KnownKanary:
        """Of the record."""
        return model.KnownKanary(self.uid, self.namespace, self.name, self.first_seen, self.deleted_at)


class Weight(Shape):
    """A backend's share before a change."""

    backend: str
    weight: int
    """In percent."""


class Route(Shape):
    """A route after a change."""

    backend: str
    service_name: str
    service_port: int | str
    """Number or name of the Service's port."""
    weight: int
    """In percent."""


class Outcome(Shape):
    """What came of a change."""

    result: model.Result
    at: Time
    seconds: float
    """How long it took."""

    def record(self, revision: int) -> model.Outcome:
        """Of the record."""
        return model.Outcome(revision, self.result, self.at, self.seconds)


class Change(Shape):
    """A change of weights: there is one per Kanary and revision."""

    kanary: Kanary
    revision: Number
    at: Time
    generation: Number
    """Of the Kanary's spec."""
    before: tuple[Weight, ...]
    after: tuple[Route, ...]
    cause: str
    """Why, in the words of who made it where there are some."""
    manager: str
    """The field manager that wrote the spec."""
    config_hash: str | None
    """Names the configuration that was rendered; null where none was."""
    endpoints: tuple[tuple[str, ...], ...]
    """For each route of `after` its endpoints, as address and port."""
    outcome: Outcome | None
    """Null while it is open."""

    @classmethod
    def of(cls, recorded: model.RecordedChange) -> Change:
        """From the record."""
        return cls.model_validate(_flat(recorded))

    def record(self) -> model.RecordedChange:
        """Of the record."""
        return model.RecordedChange(
            kanary=self.kanary.record(),
            change=model.Change(
                revision=self.revision,
                at=self.at,
                generation=self.generation,
                before=tuple(model.Weight(w.backend, w.weight) for w in self.before),
                after=tuple(model.Route(r.backend, r.weight, r.service_name, r.service_port) for r in self.after),
                cause=self.cause,
                manager=self.manager,
                config_hash=self.config_hash,
                endpoints=self.endpoints,
            ),
            outcome=self.outcome.record(self.revision) if self.outcome else None,
        )


class Revision(Change):
    """A change, with the configuration that it led to."""

    configuration: str | None
    """The text for the proxies; null where it is not kept, or was not asked for."""

    @classmethod
    def with_configuration(cls, recorded: model.RecordedChange, configuration: str | None) -> Revision:
        """From the record."""
        return cls.model_validate(_flat(recorded) | {"configuration": configuration})


class Transition(Shape):
    """A change of phase: there is one per Kanary and number."""

    kanary: Kanary
    number: Number
    at: Time
    source: str = Field(alias="from")
    """The phase before."""
    destination: str = Field(alias="to")
    """The phase after."""
    trigger: str
    reason: str
    message: str

    @classmethod
    def of(cls, recorded: model.RecordedTransition) -> Transition:
        """From the record."""
        return cls.model_validate(_fields(recorded.transition) | {"kanary": recorded.kanary})

    def record(self) -> model.RecordedTransition:
        """Of the record."""
        transition = model.Transition(
            self.number, self.at, self.source, self.destination, self.trigger, self.reason, self.message
        )
        return model.RecordedTransition(self.kanary.record(), transition)


class Configuration(Shape):
    """A configuration of the proxies."""

    hash: str
    text: str


class Revisions(Shape):
    """Which revisions of a Kanary are kept."""

    kanary: Kanary
    first: Number | None
    """Null where none is kept."""
    last: Number | None


class List(Shape):
    """A page: of at most as many items as `limit` says, and of fewer where they are large. One may even be empty."""

    next: str | None
    """Give this as `after` to read on; null on the last page. Opaque."""


class KanaryList(List):
    """A page of Kanaries, by namespace and name."""

    items: tuple[Kanary, ...]


class ChangeList(List):
    """A page of changes, the newest first."""

    items: tuple[Change, ...]


class TransitionList(List):
    """A page of changes of phase, the newest first."""

    items: tuple[Transition, ...]


def _flat(recorded: model.RecordedChange) -> dict[str, object]:
    return _fields(recorded.change) | {"kanary": recorded.kanary, "outcome": recorded.outcome}


def _fields(record: model.Change | model.Transition) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
