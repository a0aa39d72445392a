"""The custom resource `kanaries.kanary.k8s.io/v1` as models; the CRD's schema is generated from them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from engine.render.haproxy import DEFAULT_MAX_CONNECTIONS, MAX_CONNECTIONS, Balance, ProxyProtocol
from states import OnEmptyRoute, UpdateStrategy

GROUP = "kanary.k8s.io"
VERSION = "v1"
KIND = "Kanary"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A Service's name (RFC 1035 label), the narrowest that every supported Kubernetes takes."""
PORT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""A Service port's name (RFC 1123 label): longer than a container port's may be, and digits will do."""
MAX_ROUTES = 100
"""Whole weights that sum to 100 leave no more than 100 routes that get any connection."""

Weight = Annotated[int, Field(ge=0, le=100, strict=True)]
ServiceName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
PortName = Annotated[str, Field(min_length=1, max_length=63, pattern=PORT_NAME)]
QUANTITY = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""A quantity as https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity describes it."""
Quantity = Annotated[
    Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(pattern=QUANTITY)],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Backend(_Model):
    """The Service whose pods a route leads to."""

    service_name: ServiceName = Field(description="Name of a Service in the Kanary's namespace.")
    service_port: PortNumber | PortName = Field(
        description="Name or number of a TCP port of that Service.",
        json_schema_extra={"x-kubernetes-int-or-string": True},
    )

    def __str__(self) -> str:
        port = self.service_port
        # A port's name may be made of digits alone. No name in Kubernetes has an underscore.
        return f"{self.service_name}:{'_' if isinstance(port, str) and port.isdigit() else ''}{port}"

    @classmethod
    def parse(cls, text: str) -> "Backend":
        """The backend that `str` wrote as this text. Raises pydantic.ValidationError."""
        name, _, port = text.partition(":")
        is_number = port.isascii() and port.isdigit()
        return cls(service_name=name, service_port=int(port) if is_number else port.removeprefix("_"))


class Route(_Model):
    """A backend and its share of the connections."""

    backend: Backend = Field(description="Where the route's connections go.")
    weight: Weight = Field(
        description="Share of the connections in percent, a whole number. The weights of all routes sum to 100."
    )
    send_proxy_protocol: ProxyProtocol | None = Field(
        default=None,
        description="Version of the PROXY protocol, V1 (text) or V2 (binary), by which the pods are told the address "
        "and port of the client as the proxy sees them. All pods of the backend must expect it, in health checks as "
        "well. Default: no header; a connection's source is the proxy.",
    )


class Resources(_Model):
    """Compute resources of a proxy's container."""

    requests: dict[str, Quantity] = Field(
        default={"cpu": "50m", "memory": "64Mi"}, description="What a proxy is promised."
    )
    limits: dict[str, Quantity] = Field(default={}, description="What a proxy may use at most.")


class Proxy(_Model):
    """How the HAProxy pods are run."""

    replicas: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(default=2, description="Number of HAProxy pods.")
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")] | None = Field(
        default=None,
        description="Image with HAProxy 3.0 or later that stops softly on its STOPSIGNAL, SIGUSR1. "
        "Default: the operator's setting.",
    )
    resources: Resources = Field(default_factory=Resources, description="Compute resources of each HAProxy pod.")
    drain_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = Field(
        default=600,
        description="How long connections go on after a change of weights (with Rolling, also of endpoints) or the end "
        "of their proxy, before they are closed.",
    )
    idle_seconds: Annotated[int, Field(ge=1, le=604_800, strict=True)] = Field(
        default=86_400, description="How long a connection may carry no data before the proxy closes it."
    )
    max_connections: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS, strict=True)] | None = Field(
        default=None,
        description="How many connections each HAProxy pod takes at once; more wait until others end. An idle one "
        f"takes about 4 KiB of memory and two file descriptors. Default: {DEFAULT_MAX_CONNECTIONS}, or as many as its "
        "container may open files for.",
    )
    balance: Balance = Field(
        default=Balance.ROUND_ROBIN,
        description="How a route's connections are spread over its pods. roundrobin: in turn. leastconn: to the pod "
        "that holds the fewest, which suits long-lived connections.",
    )


class KanarySpec(_Model):
    """What the user declares."""

    destination: ServiceName = Field(description="Name of the Service that Kanary makes and clients connect to.")
    port: PortNumber = Field(default=80, description="Port of the destination Service.")
    routes: Annotated[tuple[Route, ...], Field(min_length=1, max_length=MAX_ROUTES)] = Field(
        description="The backends and their weights."
    )
    on_empty_route: OnEmptyRoute = Field(
        default=OnEmptyRoute.REDISTRIBUTE,
        description="What becomes of the share of a route with no ready endpoint. Redistribute: the other routes take "
        "it in proportion to their weights. Hold: the last good configuration stays. Fail: its connections are closed.",
    )
    update_strategy: UpdateStrategy = Field(
        default=UpdateStrategy.LIVE,
        description="How running proxies come by new weights, endpoints and timeouts. Live: they take them as they "
        "run, within about a second. Rolling: new proxies replace them. Changes of image, resources, replicas and "
        "drain time always replace or add proxies.",
    )
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = Field(
        default=600, description="How long proxies may take to serve a change before the Kanary is Degraded."
    )
    paused: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="While true, changes of the spec wait. Endpoints are still followed."
    )
    proxy: Proxy = Field(default_factory=Proxy, description="How the HAProxy pods are run.")

    @property
    def weights(self) -> tuple[tuple[str, int], ...]:
        """Each backend's label and weight, in the order of the routes."""
        labels = route_labels(self)
        return tuple(zip(labels, (route.weight for route in self.routes), strict=True))


class WeightStatus(_Model):
    """A route as it is served."""

    backend: str = Field(description="The backend's Service, with its port where two routes share the Service.")
    weight: int = Field(description="Share of the connections in percent.")
    endpoints: int = Field(description="Ready endpoints of the backend.")


class ProxyStatus(_Model):
    """The HAProxy pods as observed."""

    name: str = Field(description="Name of their Deployment and ConfigMap.")
    replicas: int = Field(description="Number of proxies wanted.")
    ready: int = Field(description="Number of proxies that are ready with the current configuration.")
    strategy: str = Field(
        default=UpdateStrategy.ROLLING.value,
        description="How they come by a new configuration: as spec.updateStrategy says, or Rolling after they did not "
        "take one as they ran. The next change of the spec tries Live again.",
    )


class Display(_Model):
    """What `kubectl get` shows."""

    weights: str = Field(description="The served weights in one line.")
    ready: str = Field(description="Ready and wanted proxies.")


class Condition(_Model):
    """A condition as the Kubernetes API conventions describe it."""

    type: str = Field(description="Ready, Progressing or HistoryRecorded.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int = Field(description="Generation of the spec that the condition speaks of.")
    last_transition_time: str = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field(description="Why, in one word.")
    message: str = Field(description="Why, for a person.")


class TransitionStatus(_Model):
    """One move of the state machine."""

    number: int = Field(description="Counts the moves of this Kanary, from 1.")
    at: str = Field(description="When.", json_schema_extra={"format": "date-time"})
    source: str = Field(alias="from", description="The phase before.")
    to: str = Field(description="The phase after.")
    trigger: str = Field(description="The row of the table that was taken.")
    reason: str = Field(description="Why, in one word.")
    message: str = Field(description="Why, for a person.")


class ChangedRoute(_Model):
    """A route of a change of weights."""

    backend: str = Field(description="The backend's Service, with its port where two routes share the Service.")
    weight: int = Field(description="Share of the connections in percent.")
    service_name: str = Field(description="The backend's Service.")
    service_port: PortNumber | PortName = Field(
        description="Its port, by name or number.", json_schema_extra={"x-kubernetes-int-or-string": True}
    )


class ChangeStatus(_Model):
    """One change of the served weights."""

    revision: int = Field(description="Counts the changes of the served weights.")
    generation: int = Field(description="Generation of the spec that asked for them.")
    at: str = Field(description="When.", json_schema_extra={"format": "date-time"})
    before: tuple[ChangedRoute, ...] = Field(default=(), description="The routes before.")
    routes: tuple[ChangedRoute, ...] = Field(description="The routes from then on.")
    cause: str = Field(
        description="Why: the annotation kubernetes.io/change-cause where it is new, else created or spec changed."
    )
    manager: str = Field(default="", description="The field manager that wrote the routes.")
    config_hash: str | None = Field(default=None, description="Digest of the first configuration with these weights.")
    result: str = Field(default="", description="Ready, or Superseded by the next change; empty while it goes on.")
    ended_at: str | None = Field(
        default=None, description="When the result came.", json_schema_extra={"format": "date-time"}
    )
    seconds: float | None = Field(default=None, description="How long that took.")


class HistoryStatus(_Model):
    """What the history could not be given."""

    lost_changes: int = Field(default=0, description="Changes of weights that had to be dropped before it had them.")
    lost_transitions: int = Field(default=0, description="Moves that had to be dropped before it had them.")


class KanaryStatus(_Model):
    """What the operator has observed and done."""

    observed_generation: int = Field(default=0, description="Generation of the spec that this status speaks of.")
    phase: str = Field(default="", description="Pending, Rendering, Rolling, Ready or Degraded.")
    reason: str = Field(default="", description="Why, in one word.")
    message: str = Field(default="", description="Why, for a person, with the way out where something is wrong.")
    revision: int = Field(default=0, description="Counts the changes of the served weights.")
    weights: tuple[WeightStatus, ...] = Field(default=(), description="The routes as every proxy serves them.")
    proxies: ProxyStatus | None = Field(default=None, description="The HAProxy pods as observed.")
    display: Display | None = Field(default=None, description="What kubectl get shows.")
    config_hash: str | None = Field(
        default=None, description="Digest of the configuration that the proxies are to serve."
    )
    progressing_since: str | None = Field(
        default=None,
        description="Since when the proxies do not all serve what they should; the progress deadline counts from here.",
        json_schema_extra={"format": "date-time"},
    )
    conditions: tuple[Condition, ...] = Field(default=(), description="Ready, Progressing and HistoryRecorded.")
    transitions: tuple[TransitionStatus, ...] = Field(default=(), description="The last moves, oldest first.")
    changes: tuple[ChangeStatus, ...] = Field(default=(), description="The last changes of weights, oldest first.")
    change_cause: str | None = Field(
        default=None, description="The annotation kubernetes.io/change-cause as of the last change."
    )
    history: HistoryStatus | None = Field(default=None, description="What the history could not be given.")


def route_labels(spec: KanarySpec) -> tuple[str, ...]:
    """A short name for each route: its Service's, with the port where two routes share the Service."""
    names = [route.backend.service_name for route in spec.routes]
    return tuple(
        str(route.backend) if names.count(route.backend.service_name) > 1 else route.backend.service_name
        for route in spec.routes
    )


def weights_text(weights: tuple[tuple[str, int], ...]) -> str:
    """`myapp-v1=80 myapp-v2=20`."""
    return " ".join(f"{backend}={weight}" for backend, weight in weights)


def spec_json(spec: KanarySpec) -> dict[str, Any]:
    """The spec as the API writes it, defaults included."""
    return spec.model_dump(mode="json", by_alias=True)
