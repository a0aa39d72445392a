"""The states of a Kanary: what is declared, what is to be in force, what was written, what is served.

Intent → Split → Applied → Serving. Each is built once in a reconcile; the rules compare them. The last one is
`engine.fleet.proxy.Proxy.serves`: what each proxy reports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from engine.model.entries import Share
from engine.model.shape import Shape
from engine.model.spec import Backend, KanarySpec, weights_text
from engine.render.haproxy import TOTAL_WEIGHT, Server
from states import Problem, UpdateStrategy

CONFIG_KEY = "haproxy.cfg"
ACCEPTED_KEY = "accepted.cfg"
APPLIED_KEY = "applied.json"
MAX_SERIAL = 2**53
"""More than there will ever be, and the most that JSON has exactly."""


class Endpoint(NamedTuple):
    """A pod's address and port; `pod` is its name, or empty where the Service's endpoints were made by hand."""

    address: str
    port: int
    pod: str = ""


Endpoints = Mapping[Backend, tuple[Endpoint, ...]]
"""The ready endpoints of each backend."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What is declared: the spec, if it can be read, and all that is wrong with it."""

    generation: int
    spec: KanarySpec | None
    problems: tuple[Problem, ...] = ()
    endpoints: Endpoints = field(default_factory=dict)
    """Of each backend that the spec names."""


@dataclass(frozen=True, slots=True)
class Split:
    """What is to be in force now, with the number of its weights."""

    spec: KanarySpec
    """Whose routes have the weights: the declared spec, or the last good one where that cannot be obeyed."""
    generation: int
    """Of the spec."""
    revision: int
    endpoints: Endpoints
    is_in_status: bool
    """The status has this revision, so that the history can miss nothing that a proxy ever served."""
    holds_pods: bool = False
    """Pods are served that no Service names; they have to be looked for again."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """Each backend and its weight."""
        return self.spec.shares

    @property
    def text(self) -> str:
        """The weights in one line."""
        return weights_text(self.shares)


class Applied(Shape):
    """What was last written for the proxies, kept beside their configuration, so that it survives anything."""

    generation: int
    """Of the spec that it came from: nothing that is decided from an older one overwrites it."""
    revision: int
    digest: str
    written_at: AwareDatetime
    strategy: UpdateStrategy
    """How the proxies receive it: as the spec says, or Rolling where they did not load it while they ran."""
    serial: int = Field(default=0, ge=0, lt=MAX_SERIAL)
    """Counts the configurations that proxies were given to load while they run."""
    entry: int = 0
    """Number of the last entry in the status at that time: where the status is lost, numbers go on beyond it."""
    ipv6: bool = False
    """The proxies were seen to be reached over IPv6. That stays so while none of them is there to be seen."""
    spec: KanarySpec
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    """Of each backend of the spec."""

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        """Somebody may have spoilt the ConfigMap in any way."""
        if sum(route.weight for route in self.spec.routes) != TOTAL_WEIGHT:
            raise ValueError(f"the weights do not sum to {TOTAL_WEIGHT}")
        if self.endpoints.keys() != {str(route.backend) for route in self.spec.routes}:
            raise ValueError("the endpoints are not those of the spec's backends")
        for endpoint in (endpoint for found in self.endpoints.values() for endpoint in found):
            Server(endpoint.address, endpoint.port)
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
    """What the proxies' ConfigMap holds."""

    applied: Applied | None = None
    """None where there is none or somebody spoilt it: then all is rendered anew."""
    latest: str = ""
    """The configuration that `applied` describes."""
    accepted: str = ""
    """A configuration that a proxy was seen to serve before the latest."""
    version: str = field(default="", compare=False)
    """The ConfigMap's resourceVersion when it was read: it is only written if it is still that."""


def read_written(config_map: Mapping[str, Any] | None) -> Written:
    """What a ConfigMap holds, however spoilt it is."""
    data = (config_map or {}).get("data") or {}
    latest, accepted = data.get(CONFIG_KEY) or "", data.get(ACCEPTED_KEY) or ""
    try:
        applied = Applied.model_validate(json.loads(data.get(APPLIED_KEY) or ""), by_alias=True, by_name=False)
    except (TypeError, ValueError, ValidationError, RecursionError):
        applied = None
    version = ((config_map or {}).get("metadata") or {}).get("resourceVersion") or ""
    return Written(applied, latest, accepted, version)


def unpaused(spec: KanarySpec) -> KanarySpec:
    """The spec without what says whether it is to be obeyed now."""
    return spec.model_copy(update={"paused": False})
