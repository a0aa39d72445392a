"""Kanaries as manifests: a good one, and what differs from it."""

from typing import Any

Manifest = dict[str, Any]


def route(service: str, weight: Any, port: Any = "http") -> Manifest:
    return {"backend": {"serviceName": service, "servicePort": port}, "weight": weight}


def kanary(name: str = "web", **spec: Any) -> Manifest:
    """A Kanary of 80 to 20 with these fields of its spec changed."""
    # With Live, the proxies would need agents.
    routes = [route("web-v1", 80), route("web-v2", 20)]
    good = {"destination": "web", "updateStrategy": "Rolling", "routes": routes}
    return {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": {"name": name}, "spec": good | spec}
