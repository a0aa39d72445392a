"""The Service that clients connect to: `spec.service` of a Kanary, and what each of its ports has."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from engine.model.shape import Shape

PORT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""A Service port's name (RFC 1123 label): it may be longer than a container port's, and consist of digits."""
FIRST_PORT = "tcp"
"""The name of `port` in the destination Service, unless `service.port.name` is another."""

PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
PortName = Annotated[str, Field(min_length=1, max_length=63, pattern=PORT_NAME)]
_Text = Annotated[str, Field(min_length=1, max_length=253)]
_Flag = Annotated[bool, Field(strict=True)]


class ServiceType(StrEnum):
    """The types of a Service that has a ClusterIP."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class TrafficPolicy(StrEnum):
    """Which proxies a node leads connections to."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class FamilyPolicy(StrEnum):
    """How many address families a Service has."""

    SINGLE_STACK = "SingleStack"
    PREFER_DUAL_STACK = "PreferDualStack"
    REQUIRE_DUAL_STACK = "RequireDualStack"


class AddressFamily(StrEnum):
    """An address family of a Service."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class Affinity(StrEnum):
    """Whether the connections of a client go to one proxy."""

    NONE = "None"
    CLIENT_IP = "ClientIP"


class ClientAffinity(Shape):
    """Affinity by the client's address."""

    timeout_seconds: Annotated[int, Field(ge=1, le=86_400, strict=True)] = Field(
        default=10_800, description="How long the affinity of a client lasts after its last connection."
    )


class AffinityConfig(Shape):
    """Details of `sessionAffinity`."""

    client_ip: ClientAffinity = Field(alias="clientIP", description="Affinity by the client's address.")


class ExposedPort(Shape):
    """Name, application protocol and node port of a port of the destination Service."""

    name: PortName = Field(default=FIRST_PORT, description="Name of `port` in the destination Service.")
    app_protocol: _Text | None = Field(
        default=None,
        description="Application protocol of the port, as of any Service, for load balancers and meshes. Kanary "
        "forwards TCP whatever it is.",
    )
    node_port: PortNumber | None = Field(
        default=None,
        description="Port of the nodes, with type NodePort or LoadBalancer. Default: the cluster allocates one, which "
        "stays the same.",
    )


class ServiceSettings(Shape):
    """Settings of the destination Service, with the names and meanings that every Service has."""

    type: ServiceType = Field(
        default=ServiceType.CLUSTER_IP, description="How clients reach the Service. It may change at any time."
    )
    labels: dict[str, Annotated[str, Field(max_length=63)]] | None = Field(
        default=None, description="Further labels. Those of Kanary itself cannot be changed."
    )
    annotations: dict[str, Annotated[str, Field(max_length=8_192)]] | None = Field(
        default=None, description="Annotations, such as those that a cloud reads for its load balancers."
    )
    port: ExposedPort = Field(
        default_factory=ExposedPort, description="Name, application protocol and node port of `spec.port`."
    )
    load_balancer_class: _Text | None = Field(
        default=None,
        description="Which controller provides the load balancer, with type LoadBalancer; from Kubernetes 1.22. It "
        "cannot be changed while the type is LoadBalancer.",
    )
    load_balancer_source_ranges: Annotated[tuple[_Text, ...], Field(max_length=64)] | None = Field(
        default=None, description="Addresses (CIDR) from which the load balancer accepts connections."
    )
    allocate_load_balancer_node_ports: _Flag | None = Field(
        default=None,
        description="Whether a Service of type LoadBalancer gets ports of the nodes; from Kubernetes 1.22. Ports that "
        "it has stay.",
    )
    external_traffic_policy: TrafficPolicy | None = Field(
        default=None,
        description="Local: connections from outside go to proxies of the node that they arrive at, and keep the "
        "client's address up to the proxy; a node without a proxy drops them. Default: Cluster.",
    )
    internal_traffic_policy: TrafficPolicy | None = Field(
        default=None,
        description="Local: connections from pods go to proxies of the pod's node; on a node without a proxy they "
        "fail. From Kubernetes 1.22. Default: Cluster.",
    )
    ip_family_policy: FamilyPolicy | None = Field(
        default=None, description="Whether the Service has addresses of one family or both. Default: the cluster's."
    )
    ip_families: Annotated[tuple[AddressFamily, ...], Field(min_length=1, max_length=2)] | None = Field(
        default=None,
        description="Address families; the address of the first one is the ClusterIP. Default: the cluster's.",
    )
    session_affinity: Affinity | None = Field(
        default=None,
        description="ClientIP: the connections of a client go to the same proxy. Each proxy splits its connections by "
        "the weights all the same. Default: None.",
    )
    session_affinity_config: AffinityConfig | None = Field(
        default=None, description="How long the affinity lasts, with sessionAffinity ClientIP."
    )
    traffic_distribution: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="Which proxies clients prefer, such as PreferClose or PreferSameZone; from Kubernetes 1.31. "
        "`proxy.trafficDistribution` is about the connections of the proxies.",
    )
