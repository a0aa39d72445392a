"""The status of a Kanary, as models; the CRD's schema is generated from them."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator
from pydantic.config import JsonDict

from engine.model.bounds import is_plausible
from engine.model.course import RolloutStatus
from engine.model.entries import Entry, Share, entry_json, read_entry
from engine.model.shape import Shape, Time
from engine.model.weight import Weight
from states import UpdateStrategy


class RouteStatus(Shape):
    """A route as it is served."""

    backend: str
    """Service and port of the backend."""
    weight: Weight
    """Share of the connections in percent, as every proxy serves it."""
    ready: int = 0
    """Ready endpoints of the backend."""
    unready: int = 0
    """Endpoints of the backend that are not ready."""
    up: int | None = None
    """Servers that receive connections, at the proxy that reaches the fewest; absent with Rolling, as all below."""
    down: int | None = None
    """Servers whose health checks fail, at the proxy that sees the most of them."""
    ejected: int | None = None
    """Servers that receive no connections for a while because they reset those that they accepted, likewise."""
    connections: int | None = None
    """Connections to the backend of the present proxies since their pods started; lower after one was replaced."""
    failed: int | None = None
    """Those of them that no pod accepted or that a pod reset; some protocols end each connection with a reset."""
    since_change: int | None = None
    """Connections to the backend since the weights changed last; absent if a proxy does not report them."""
    actual: Weight | None = None
    """Its share of these connections in percent; absent without connections."""


class ProxyStatus(Shape):
    """The HAProxy pods as observed."""

    name: str
    """Name of their Deployment and ConfigMap."""
    replicas: int
    """Desired number of proxies."""
    ready: int
    """Number of proxies that are ready and serve the revision."""
    updated: int = 0
    """Number of those that also have the latest endpoints."""
    selector: str = ""
    """Label selector of their pods, as a HorizontalPodAutoscaler reads it."""
    strategy: str = UpdateStrategy.ROLLING.value
    """How they receive a configuration: spec.updateStrategy, or Rolling after they failed to load one in time."""


class Display(Shape):
    """The columns of `kubectl get`."""

    weights: str
    """The served weights in one line."""
    ready: str
    """Ready and desired proxies."""
    step: str | None = None
    """The step of the rollout under way, such as `2/4 10%`; absent if there is none."""
    actual: str | None = None
    """The measured shares of the connections since the weights changed last; absent if they are not known."""
    down: str | None = None
    """Servers that are down, by backend; absent if none is."""
    ejected: str | None = None
    """Servers that are ejected, by backend; absent if none is."""


class Condition(Shape):
    """A condition as the Kubernetes API conventions describe it."""

    type: str
    """Ready, Reconciling, Stalled or HistoryRecorded."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: int
    """Generation of the spec that the condition describes."""
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    """When the status last changed."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, in a sentence."""


class SplitStatus(Shape):
    """The last decided weights. They are written here before any proxy receives them."""

    revision: int
    """Counts the changes of the weights."""
    generation: int
    """Generation of the spec that declared them."""
    at: Time
    """When they were decided."""
    weights: tuple[Share, ...]
    """Each backend and its share."""
    result: str | None = None
    """How the change ended; empty while it is in progress."""


_ANY_ENTRY: JsonDict = {
    "type": "object",
    "description": "An entry of the history, with its number, time and kind.",
    "x-kubernetes-preserve-unknown-fields": True,
}


def _readable(raw: Any) -> Entry | None:
    """The entry, or None if it is invalid or cannot be written again."""
    try:
        if not isinstance(raw, (Entry, Mapping)) or not is_plausible(raw):
            return None
        entry = raw if isinstance(raw, Entry) else read_entry(raw)
        if entry.model_extra:
            # Anything may be in fields that this version does not know.
            entry_json(entry)
    except (ValueError, RecursionError):
        return None
    return entry


class HistoryStatus(Shape):
    """The last entries of the history."""

    last: int = 0
    """Number of the last entry."""
    entries: tuple[SerializeAsAny[Entry], ...] = Field(default=(), json_schema_extra={"items": _ANY_ENTRY})
    """The last entries, and those that the history database has not stored yet, oldest first."""
    lost: int = 0
    """Entries that were dropped before the history had them; HistoryRecorded is False until it is set to 0."""

    @field_validator("entries", mode="before")
    @classmethod
    def _of_their_kinds(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise ValueError("entries is not a list")  # noqa: TRY004  pydantic expects it
        return tuple(entry for raw in value if (entry := _readable(raw)))


class KanaryStatus(Shape):
    """The state of a Kanary as the operator observes it."""

    observed_generation: int = 0
    """Generation of the spec that this status describes."""
    phase: str = ""
    """Pending, Rendering, Rolling, Ready or Degraded."""
    reason: str = ""
    """Why, in one word."""
    message: str = ""
    """Why, in a sentence, with the way out if something is wrong."""
    since: Time | None = None
    """Since when the Kanary has this phase and reason."""
    rule: str = ""
    """The rule that decided this, as `kanary why` and docs/state-machine.md list them."""
    until: Time | None = None
    """Until when this lasts at the latest, if nothing changes; absent if there is no limit."""
    then: str | None = None
    """What happens at that time."""
    revision: int = 0
    """Revision of the weights that the proxies last received; counts the changes of the weights."""
    split: SplitStatus | None = None
    """The last decided weights."""
    weights: tuple[RouteStatus, ...] = ()
    """The routes as every proxy serves them."""
    proxies: ProxyStatus | None = None
    """The HAProxy pods as observed."""
    display: Display | None = None
    """The columns of kubectl get."""
    rollout: RolloutStatus | None = None
    """The rollout by steps that is under way, or the last one."""
    config_hash: str | None = None
    """Digest of the configuration that the proxies last received."""
    progressing_since: Time | None = None
    """Since when not all proxies serve the latest change; the progress deadline starts here."""
    conditions: tuple[Condition, ...] = ()
    """Ready, Reconciling, Stalled and HistoryRecorded."""
    change_cause: str | None = None
    """The annotation kubernetes.io/change-cause at the last change."""
    history: HistoryStatus | None = None
    """The last entries of the history."""
