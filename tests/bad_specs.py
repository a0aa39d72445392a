"""Specs that are refused, with reason and message: the operator and `kanary render` must agree about each.

They refer to Services that a test provides: `myapp-v1` and `myapp-v2` with TCP port 80 `http`, `outside`, which is
EXTERNAL, and `names` with UDP_PORT.
"""

from typing import Any

EXTERNAL = {"type": "ExternalName", "externalName": "example.com"}
UDP_PORT = {"name": "dns", "port": 53, "protocol": "UDP"}


def route(service: str, weight: Any, port: Any = "http") -> dict[str, Any]:
    return {"backend": {"serviceName": service, "servicePort": port}, "weight": weight}


GOOD = {"destination": "myapp", "routes": [route("myapp-v1", 80), route("myapp-v2", 20)]}
BAD_SPECS: dict[str, tuple[dict[str, Any], str, str]] = {
    "weights that do not sum to 100": (
        {"routes": [route("myapp-v1", 80), route("myapp-v2", 30)]},
        "InvalidWeights",
        "spec.routes: weights sum to 110 (80 + 30), 10 too many: they must sum to 100",
    ),
    "a weight below 0": (
        {"routes": [route("myapp-v1", 110), route("myapp-v2", -10)]},
        "InvalidWeights",
        "spec.routes[1].weight is -10: must be a number from 0 to 100 with at most one decimal, such as 12.5",
    ),
    "a weight above 100": (
        {"routes": [route("myapp-v1", 101)]},
        "InvalidWeights",
        "spec.routes[0].weight is 101: must be a number from 0 to 100 with at most one decimal, such as 12.5",
    ),
    "a weight with two decimals": (
        {"routes": [route("myapp-v1", 12.34), route("myapp-v2", 87.66)]},
        "InvalidWeights",
        "spec.routes[0].weight is 12.34: must be a number from 0 to 100 with at most one decimal, such as 12.5",
    ),
    "no routes": ({"routes": []}, "NoRoutes", "spec.routes is empty: must be a list of 1 to 100 routes"),
    "the same backend twice": (
        {"routes": [route("myapp-v1", 40), route("myapp-v1", 60)]},
        "DuplicateBackend",
        "duplicate backend myapp-v1:http (2 times): give it one route with the sum of weights",
    ),
    "the same port by name and by number": (
        {"routes": [route("myapp-v1", 40), route("myapp-v1", 60, 80)]},
        "DuplicateBackend",
        "spec.routes[1].backend is myapp-v1:80, the same port as spec.routes[0].backend (myapp-v1:http)",
    ),
    "a port that the Service does not have": (
        {"routes": [route("myapp-v1", 100, "grpc")]},
        "BackendPortNotFound",
        'spec.routes[0].backend.servicePort: Service "myapp-v1" has no port grpc: use one of http (80)',
    ),
    "an ExternalName": (
        {"routes": [route("outside", 100)]},
        "BackendIsExternalName",
        'Service "outside" is an ExternalName for "example.com", which has no endpoints: name a Service that selects',
    ),
    "a UDP port": (
        {"routes": [route("names", 100, "dns")]},
        "BackendPortNotTCP",
        "has protocol UDP, and Kanary splits TCP only",
    ),
    "the destination itself": (
        {"destination": "myapp", "routes": [route("myapp", 100)]},
        "BackendIsDestination",
        'spec.routes[0].backend.serviceName is "myapp", which is also spec.destination',
    ),
    "a destination that is no DNS label": (
        {"destination": "My_App"},
        "InvalidName",
        'spec.destination is "My_App": must be a DNS label',
    ),
    "a backend that is no DNS label": (
        {"routes": [route("a.b", 100)]},
        "InvalidName",
        'spec.routes[0].backend.serviceName is "a.b": must be a DNS label',
    ),
    "a destination that exists and is not ours": (
        {"destination": "outside"},
        "DestinationExists",
        'spec.destination: "outside" is a Service that Kanary did not create and does not modify: choose another name',
    ),
}
