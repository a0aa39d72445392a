"""The states of a Kanary: declared, in force, written, served.

Intent → Split → Applied → Serving. Each is built once in a reconcile; the rules compare them. The last one is
`engine.fleet.proxy.Proxy.serves`: what each proxy reports.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from engine.model.bounds import is_plausible
from engine.model.course import RolloutStatus
from engine.model.entries import Share
from engine.model.shape import Shape
from engine.model.spec import Backend, KanarySpec, weights_text
from engine.model.weight import TOTAL_WEIGHT
from engine.render.config import Server
from engine.render.slots import Slots, backends_by_slot
from states import Problem, UpdateStrategy
from states.rollouts import UNDER_WAY

Json = Mapping[str, Any]

CONFIG_KEY = "haproxy.cfg"
ACCEPTED_KEY = "accepted.cfg"
APPLIED_KEY = "applied.json"
PUBLIC_KEY = "public-key.pem"
MAX_SERIAL = 2**53
"""More than will ever be used, and the largest integer that JSON represents exactly."""


@dataclass(frozen=True, slots=True)
class Endpoint(Server):
    """A server with the name of its pod, which is empty for manual endpoints. Raises ValueError as `Server` does."""

    pod: str = ""


Endpoints = Mapping[Backend, tuple[Endpoint, ...]]
"""The ready endpoints of each backend."""


@dataclass(frozen=True, slots=True)
class Intent:
    """The declared state: the spec, if it is valid, and all problems with it."""

    generation: int
    spec: KanarySpec | None
    problems: tuple[Problem, ...] = ()
    endpoints: Endpoints = field(default_factory=dict)
    """Of each backend that the spec names."""


@dataclass(frozen=True, slots=True)
class Split:
    """The split in force, with its revision."""

    spec: KanarySpec
    """The declared spec, or the last good one if that cannot be applied."""
    generation: int
    """Of the spec."""
    revision: int
    endpoints: Endpoints
    is_in_status: bool
    """The status has this revision, so that the history misses nothing that a proxy ever serves."""
    rollout: RolloutStatus | None = None
    """The rollout that decided its weights, if the spec declares one."""
    holds_pods: bool = False
    """Some endpoints are pods that no Service selects; they have to be looked up again."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """Each backend and its weight."""
        return self.spec.shares

    @property
    def is_watched(self) -> bool:
        """Whether its connections are counted for the rollout."""
        return self.rollout is not None and self.rollout.step > 0 and self.rollout.state in UNDER_WAY

    @property
    def text(self) -> str:
        """The weights in one line."""
        return weights_text(self.shares)


def _read_endpoint(raw: Any) -> Endpoint:
    match raw:
        case Endpoint():
            return raw
        case [str() as address, int() as port, str() as pod]:
            return Endpoint(address, port, pod)
    raise ValueError(f"{raw!r} is not an address, a port and a pod")


def _endpoint_json(endpoint: Endpoint) -> tuple[str, int, str]:
    return endpoint.address, endpoint.port, endpoint.pod


_Endpoint = Annotated[Endpoint, PlainValidator(_read_endpoint), PlainSerializer(_endpoint_json)]
"""In JSON a list of address, port and pod."""


class Applied(Shape):
    """The state last written for the proxies, stored beside their configuration in the ConfigMap."""

    generation: int
    """Generation of its spec: no decision from an older generation overwrites it."""
    revision: int
    digest: str
    written_at: AwareDatetime
    strategy: UpdateStrategy
    """How the proxies receive it: as the spec says, or Rolling if running proxies did not load it."""
    serial: int = Field(default=0, ge=0, lt=MAX_SERIAL)
    """Number of the configuration, for running proxies: it increases with each, also if the ConfigMap was lost."""
    split_serial: int = Field(default=0, ge=0, lt=MAX_SERIAL)
    """Serial of the first configuration that split connections like this one."""
    entry: int = 0
    """Number of the last entry in the status at that time: if the status is lost, numbers continue after it."""
    renewed_at: AwareDatetime | None = None
    """When the proxies were last replaced by the same ones, because of what reloads had left in them."""
    ipv6: bool = False
    """The proxies were reached over IPv6. The value stays while there is no proxy to observe."""
    spec: KanarySpec
    """With the weights in force."""
    rollout: RolloutStatus | None = None
    """The rollout at that time, in case the status is lost."""
    endpoints: Mapping[str, tuple[_Endpoint, ...]]
    """Of each backend of the spec."""
    slots: Slots
    """Of the backends of the spec and of former ones, and those that are free."""
    doors: Slots = ()
    """The ports of the proxies in the same way, by the names of further ports: see `listening_port`."""

    @property
    def servers(self) -> int:
        """The number of the endpoints of all backends."""
        return sum(map(len, self.endpoints.values()))

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        """The ConfigMap may have been edited in any way."""
        if sum(route.weight for route in self.spec.routes) != TOTAL_WEIGHT:
            raise ValueError(f"the weights do not sum to {TOTAL_WEIGHT}")
        if self.endpoints.keys() != {str(route.backend) for route in self.spec.all_routes}:
            raise ValueError("the endpoints are not those of the spec's backends")
        for places in (self.slots, self.doors):
            if [index for index, _ in sorted(places)] != list(range(len(places))):
                raise ValueError("the slots or doors are not numbered from 0")
        if any(backends_by_slot(self.slots).count(backend) != 1 for backend in self.endpoints):
            raise ValueError("a backend of the spec has no slot")
        if any(backends_by_slot(self.doors).count(port.name) != 1 for port in self.spec.ports):
            raise ValueError("a port of the spec has no door")
        return self

    def endpoints_of(self, backend: Backend) -> tuple[Endpoint, ...]:
        """The endpoints that were written for this backend; none if it is not among the routes."""
        return self.endpoints.get(str(backend), ())

    @property
    def text(self) -> str:
        """The weights in one line."""
        return weights_text(self.spec.shares)

    def to_json(self) -> str:
        """As the ConfigMap holds it."""
        return self.model_dump_json(by_alias=True)


@dataclass(frozen=True, slots=True)
class Written:
    """The content of the proxies' ConfigMap."""

    applied: Applied | None = None
    """None if it is missing or damaged: then everything is rendered again."""
    latest: str = ""
    """The configuration that `applied` describes."""
    accepted: str = ""
    """A previous configuration that a proxy has served."""
    public_key: str = ""
    """PEM; proxies accept configurations that were signed with its private key. Empty: they accept none."""
    version: str = field(default="", compare=False)
    """The ConfigMap's resourceVersion when it was read: a precondition of the next write."""
    content_id: int | None = field(default=None, compare=False)
    """That of the ConfigMap (see `Memo`); None if this is not exactly what it contains."""


def read_applied(text: str) -> Applied | None:
    """What `Applied.to_json` wrote; None if it is damaged."""
    try:
        raw = json.loads(text)
        # The models of the spec and of endpoints have limits of their own, and most of the text is endpoints.
        if not is_plausible({key: value for key, value in raw.items() if key not in ("spec", "endpoints")}):
            return None
        return Applied.model_validate(raw, by_alias=True, by_name=False)
    except (AttributeError, TypeError, ValueError, ValidationError, RecursionError):
        return None


def applied_in(config_map: Json) -> Applied | None:
    """The state that a ConfigMap stores; None if it is damaged."""
    return read_applied((config_map.get("data") or {}).get(APPLIED_KEY) or "")


def read_written(config_map: Json | None, read: Callable[[Json], Applied | None] = applied_in) -> Written:
    """The content of a ConfigMap, even if it is damaged; `read` replaces `applied_in`."""
    if config_map is None:
        return Written()
    data = config_map.get("data") or {}
    return Written(
        applied=read(config_map),
        latest=data.get(CONFIG_KEY) or "",
        accepted=data.get(ACCEPTED_KEY) or "",
        public_key=data.get(PUBLIC_KEY) or "",
        version=(config_map.get("metadata") or {}).get("resourceVersion") or "",
        content_id=getattr(config_map, "content_id", None),
    )


def unpaused(spec: KanarySpec) -> KanarySpec:
    """The spec without `paused`, which only says when it applies."""
    return spec.model_copy(update={"paused": False}) if spec.paused else spec
