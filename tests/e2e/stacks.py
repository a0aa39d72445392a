"""The objects that the tests apply, as plain data."""

import importlib.metadata
from pathlib import Path
from typing import Any

from tests.e2e.kubectl import Manifest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CLIENT_FILE = EXAMPLES / "echo" / "client.yml"
CLIENT = "client"
ECHO_IMAGE = f"kanary-echo:{importlib.metadata.version('kanary')}"
CONTAINER_PORT = 9000


def deployment(name: str, version: str, replicas: int = 1, *, lingers: int = 0, **variables: str) -> Manifest:
    """A Deployment of the echo server that answers with ``version``.

    A terminating pod still answers for ``lingers`` seconds.
    """
    environment = {"VERSION": version, "PORT": str(CONTAINER_PORT), **variables}
    container = {
        "name": "echo",
        "image": ECHO_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"name": "echo", "containerPort": CONTAINER_PORT}],
        "readinessProbe": {"tcpSocket": {"port": "echo"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(lingers)]}}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": lingers + 5},
            },
        },
    }


def service(name: str, *ports: dict[str, Any]) -> Manifest:
    """The Service in front of the Deployment of the same name; without ``ports``, its port 80 is named http."""
    entries = list(ports) or [{"name": "http", "port": 80, "targetPort": "echo"}]
    spec = {"selector": {"app": name}, "ports": entries}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def backend(name: str, version: str, replicas: int = 1, *, lingers: int = 0, **variables: str) -> list[Manifest]:
    """A version of the application: its Deployment and its Service, with a port named http."""
    return [deployment(name, version, replicas, lingers=lingers, **variables), service(name)]


def route(name: str, weight: Any, port: int | str = "http") -> dict[str, Any]:
    """One entry of ``spec.routes``."""
    return {"backend": {"serviceName": name, "servicePort": port}, "weight": weight}


def kanary(name: str, destination: str, *routes: dict[str, Any], **spec: Any) -> Manifest:
    """A Kanary with one proxy that drains quickly, unless ``spec`` says otherwise."""
    proxy = {"replicas": 1, "drainSeconds": 5, **spec.pop("proxy", {})}
    return {
        "apiVersion": "kanary.k8s.io/v1",
        "kind": "Kanary",
        "metadata": {"name": name},
        "spec": {"destination": destination, "routes": list(routes), "proxy": proxy, **spec},
    }
