"""What the operator writes into a Kanary's status, as models; the CRD's schema is generated from them."""

from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator
from pydantic.config import JsonDict

from engine.model.entries import Entry, Share, entry_json, read_entry
from engine.model.shape import Shape, Time
from states import UpdateStrategy


class RouteStatus(Shape):
    """A route as it is served."""

    backend: str
    """Service and port of the backend."""
    weight: int
    """Share of the connections in percent, as every proxy serves it."""
    ready: int = 0
    """Ready endpoints of the backend."""
    unready: int = 0
    """Endpoints of the backend that are not ready."""


class ProxyStatus(Shape):
    """The HAProxy pods as observed."""

    name: str
    """Name of their Deployment and ConfigMap."""
    replicas: int
    """Number of proxies wanted."""
    ready: int
    """Number of proxies that are ready and serve the revision."""
    updated: int = 0
    """Number of those that also have the latest endpoints."""
    strategy: str = UpdateStrategy.ROLLING.value
    """How they receive a configuration: by spec.updateStrategy, or Rolling since they failed to load one in time."""


class Display(Shape):
    """What `kubectl get` shows."""

    weights: str
    """The served weights in one line."""
    ready: str
    """Ready and wanted proxies."""


class Condition(Shape):
    """A condition as the Kubernetes API conventions describe it."""

    type: str
    """Ready, Progressing or HistoryRecorded."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: int
    """Generation of the spec that the condition describes."""
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    """When the status last changed."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, for a person."""


class SplitStatus(Shape):
    """The weights that were last decided on. They are written here before any proxy is given them."""

    revision: int
    """Counts the changes of the weights."""
    generation: int
    """Generation of the spec that declared them."""
    at: Time
    """When they were decided on."""
    weights: tuple[Share, ...]
    """Each backend and its share."""
    result: str | None = None
    """How the change ended; empty while it is in progress."""


_ANY_ENTRY: JsonDict = {
    "type": "object",
    "description": "What happened, with its number, time and kind.",
    "x-kubernetes-preserve-unknown-fields": True,
}


def _readable(raw: Any) -> Entry | None:
    """None for what somebody wrote that is no entry, or that could not be written again."""
    try:
        entry = raw if isinstance(raw, Entry) else read_entry(raw)
        entry_json(entry)
    except (ValueError, RecursionError):
        return None
    return entry


class HistoryStatus(Shape):
    """What happened last, as the history has it or will have it."""

    last: int = 0
    """Number of the last entry."""
    entries: tuple[SerializeAsAny[Entry], ...] = Field(default=(), json_schema_extra={"items": _ANY_ENTRY})
    """The last entries, and those that the history database does not have yet, oldest first."""
    lost: int = 0
    """Entries that were dropped before the history database had them."""

    @field_validator("entries", mode="before")
    @classmethod
    def _of_their_kinds(cls, value: Any) -> Any:
        return tuple(entry for raw in value if (entry := _readable(raw)))


class KanaryStatus(Shape):
    """What the operator has observed and done."""

    observed_generation: int = 0
    """Generation of the spec that this status describes."""
    phase: str = ""
    """Pending, Rendering, Rolling, Ready or Degraded."""
    reason: str = ""
    """Why, in one word."""
    message: str = ""
    """Why, for a person, with the way out where something is wrong."""
    since: Time | None = None
    """Since when the phase and its reason are these."""
    revision: int = 0
    """Counts the changes of the weights; that of the configuration that the proxies were last given."""
    split: SplitStatus | None = None
    """The weights that were last decided on."""
    weights: tuple[RouteStatus, ...] = ()
    """The routes as every proxy serves them."""
    proxies: ProxyStatus | None = None
    """The HAProxy pods as observed."""
    display: Display | None = None
    """What kubectl get shows."""
    config_hash: str | None = None
    """Digest of the configuration that the proxies were last given."""
    progressing_since: Time | None = None
    """Since when the proxies do not all serve what they should; the progress deadline counts from here."""
    conditions: tuple[Condition, ...] = ()
    """Ready, Progressing and HistoryRecorded."""
    change_cause: str | None = None
    """The annotation kubernetes.io/change-cause as of the last change."""
    history: HistoryStatus | None = None
    """What happened last."""
