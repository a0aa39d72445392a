"""What users declare in a Kanary (`kanaries.kanary.k8s.io/v1`), as models; the CRD's schema is generated from them."""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from engine.model.entries import Share
from engine.model.placement import ProxyDefaults
from engine.model.rollout import Freeze, RolloutSpec
from engine.model.service import ExposedPort, PortName, PortNumber, ServiceSettings
from engine.model.shape import Shape
from engine.model.weight import Weight
from engine.render.config import (
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_UNACKNOWLEDGED_SECONDS,
    MAX_CONNECTIONS,
    Balance,
    ProxyProtocol,
)
from states import OnEmptyRoute, UpdateStrategy

GROUP = "kanary.k8s.io"
VERSION = "v1"
KIND = "Kanary"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A Service's name (RFC 1035 label), the strictest form of all supported Kubernetes versions."""
_MOST_SHOWN = 1_000
"""Maximum length of weights in one line. A hundred routes may need 13,000 characters, in each message of a status."""
MAX_ROUTES = 100
"""Two digits name a route in each turn of the schedule, and the history in a status has room for that many shares."""
MAX_PORTS = 4
"""How many ports there may be beside the first one: HAProxy takes 15,000 characters as the data of all ports."""
MAX_BACKENDS = 100
"""The routes of all ports: each port has rules for each of them."""

ServiceName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]


class Backend(Shape):
    """The Service and port of a route."""

    service_name: ServiceName = Field(description="Name of a Service in the Kanary's namespace.")
    service_port: PortNumber | PortName = Field(
        description="Name or number of a TCP port of that Service.",
        json_schema_extra={"x-kubernetes-int-or-string": True},
    )

    def __str__(self) -> str:
        port = self.service_port
        # A port's name may consist of digits. No name in Kubernetes has an underscore.
        return f"{self.service_name}:{'_' if isinstance(port, str) and port.isdigit() else ''}{port}"

    @classmethod
    def parse(cls, text: str) -> "Backend":
        """The backend that `str` wrote as this text. Raises pydantic.ValidationError."""
        name, _, port = text.partition(":")
        is_number = port.isascii() and port.isdigit()
        return cls(service_name=name, service_port=int(port) if is_number else port.removeprefix("_"))


class Route(Shape):
    """A backend and its share of the connections."""

    backend: Backend = Field(description="Where the route's connections go.")
    weight: Weight = Field(
        description="Share of the connections in percent, with at most one decimal, such as 12.5. "
        "The weights of all routes sum to 100."
    )
    send_proxy_protocol: ProxyProtocol | None = Field(
        default=None,
        description="Version of the PROXY protocol, V1 (text) or V2 (binary), which sends the address "
        "and port of the client, as the proxy sees them, to the pods. All pods of the backend must expect it, also in "
        "health checks. Default: no header; a connection's source is the proxy.",
    )


class TrafficDistribution(StrEnum):
    """Which pods of a route a proxy prefers, in the words of a Service's `trafficDistribution`."""

    PREFER_SAME_ZONE = "PreferSameZone"


class SplitPort(ExposedPort):
    """A further port of the destination, whose connections are split by the weights of the routes."""

    name: PortName = Field(
        description="Name of the port in the destination Service, other than that of `port` (`service.port.name`)."
    )
    port: PortNumber = Field(description="Port of the destination Service.")
    service_port: PortNumber | PortName = Field(
        description="Name or number of a TCP port of the Service of each route.",
        json_schema_extra={"x-kubernetes-int-or-string": True},
    )
    backends: Annotated[tuple[Backend, ...], Field(max_length=MAX_ROUTES)] = Field(
        default=(), description="The Services of routes that have another port."
    )
    send_proxy_protocol: ProxyProtocol | None = Field(
        default=None, description="As in a route, for the connections to this port."
    )


class ProxySettings(ProxyDefaults):
    """Settings of the HAProxy pods."""

    replicas: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(default=2, description="Number of HAProxy pods.")
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")] | None = Field(
        default=None,
        description="Image built from kanary-haproxy; with Rolling, any image with HAProxy 3.0 or later and STOPSIGNAL "
        "SIGUSR1. Default: the operator's setting.",
    )
    drain_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = Field(
        default=600,
        description="Maximum time that connections stay open after HAProxy reloads or their proxy stops. With Live, "
        "weights and endpoints change without either; with Rolling, each change stops the old proxies.",
    )
    idle_seconds: Annotated[int, Field(ge=1, le=604_800, strict=True)] = Field(
        default=86_400, description="Maximum time that a connection may carry no data before the proxy closes it."
    )
    unacknowledged_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = Field(
        default=DEFAULT_UNACKNOWLEDGED_SECONDS,
        description="Maximum time until a client or a pod acknowledges data, before the proxy closes the connection: "
        "its node may be lost. It includes the time that a client or a pod reads nothing.",
    )
    max_connections: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS, strict=True)] | None = Field(
        default=None,
        description="Maximum number of connections of each HAProxy pod; more wait until others end. An idle one "
        f"takes about 4 KiB of memory and two file descriptors. Default: {DEFAULT_MAX_CONNECTIONS}, or as many as the "
        "file limit of its container allows. Each port has this limit.",
    )
    balance: Balance = Field(
        default=Balance.ROUND_ROBIN,
        description="How a route's connections are spread over its pods. roundrobin: in turn. leastconn: to the pod "
        "with the fewest connections, which suits long-lived connections.",
    )
    traffic_distribution: TrafficDistribution | None = Field(
        default=None,
        description="PreferSameZone: each proxy connects to the pods of its own zone in each route, and to those of "
        "other zones while none of them is up. The weights of the routes stay exact. Needs updateStrategy Live. "
        "Default: to all pods.",
    )


class KanarySpec(Shape):
    """The desired state of a Kanary."""

    destination: ServiceName = Field(description="Name of the Service that Kanary creates and clients connect to.")
    adopt_destination: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="Whether Kanary may switch a Service of this name that it did not create to its proxies, when they "
        "serve: its selector and target ports. It becomes what it was if the Kanary is deleted, names "
        "another destination, or this is false again. Until then the Kanary has a finalizer.",
    )
    port: PortNumber = Field(default=80, description="Port of the destination Service.")
    routes: Annotated[tuple[Route, ...], Field(min_length=1, max_length=MAX_ROUTES)] = Field(
        description="The backends and their weights."
    )
    ports: Annotated[tuple[SplitPort, ...], Field(max_length=MAX_PORTS)] = Field(
        default=(),
        description="Further ports of the destination. Each is split by the weights of the routes, and counts its own "
        f"turns. There may be {MAX_BACKENDS} routes of all ports together. The status, the history and the "
        "verdicts on a rollout have the connections to `port`.",
    )
    service: ServiceSettings = Field(
        default_factory=ServiceSettings,
        description="Settings of the destination Service, unless it is adopted. What others set on it stays.",
    )
    on_empty_route: OnEmptyRoute = Field(
        default=OnEmptyRoute.REDISTRIBUTE,
        description="What happens to the share of a route without a ready endpoint. Redistribute: the other routes "
        "take it in proportion to their weights. Hold: the last good configuration stays. Fail: its connections are "
        "closed.",
    )
    update_strategy: UpdateStrategy = Field(
        default=UpdateStrategy.LIVE,
        description="How running proxies receive new weights, endpoints and timeouts. Live: they load them without a "
        "restart, within about a second. Rolling: new proxies replace them. Changes of image, resources, "
        "template, replicas and drain time always replace or add proxies.",
    )
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = Field(
        default=600, description="Maximum time for the proxies to serve a change before the Kanary becomes Degraded."
    )
    paused: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="While true, changes of the spec wait. Endpoints are still updated."
    )
    rollout: RolloutSpec | None = Field(
        default=None,
        description="Other weights are reached by steps, each of which is judged by the failed connections of each "
        "version. Default: they are served at once.",
    )
    freeze: Freeze | None = Field(
        default=None, description="While present, the weights do not change, except back to the last good ones."
    )
    proxy: ProxySettings = Field(
        default_factory=ProxySettings,
        description="Settings of the HAProxy pods.",
        # The cluster has no scale of a Kanary without a value of replicas: {} takes the default of each field.
        json_schema_extra={"default": {}},
    )

    @property
    def configures_service(self) -> bool:
        """Whether it says more of the destination Service than its ports."""
        return self.service != ServiceSettings() or any(port.app_protocol or port.node_port for port in self.ports)

    @property
    def splits(self) -> tuple[tuple[Route, ...], ...]:
        """The routes of each port, the first one's first."""
        return (self.routes, *map(self._routes_of, self.ports))

    @property
    def all_routes(self) -> tuple[Route, ...]:
        """The routes of all ports, each backend once."""
        if not self.ports:
            return self.routes
        return tuple({route.backend: route for routes in self.splits for route in routes}.values())

    def _routes_of(self, port: SplitPort) -> tuple[Route, ...]:
        """Routes to two ports of a Service are one route of a further port, with the sum of the weights."""
        others = {backend.service_name: backend for backend in port.backends}
        weights: dict[Backend, Decimal] = {}
        for route in self.routes:
            name = route.backend.service_name
            backend = others.get(name) or Backend(service_name=name, service_port=port.service_port)
            weights[backend] = weights.get(backend, Decimal()) + route.weight
        return tuple(
            Route(backend=backend, weight=weight, send_proxy_protocol=port.send_proxy_protocol)
            for backend, weight in weights.items()
        )

    @property
    def shares(self) -> tuple[Share, ...]:
        """Each backend and its weight, in the order of the routes."""
        return tuple(Share(backend=str(route.backend), weight=route.weight) for route in self.routes)


def weights_text(shares: Iterable[Share]) -> str:
    """`myapp-v1:http=80 myapp-v2:9090=20`, cut at the maximum length, with an ellipsis."""
    text = " ".join(f"{share.backend}={share.weight}" for share in shares)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN].rpartition(' ')[0]} ..."
