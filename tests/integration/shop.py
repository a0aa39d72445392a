"""The Service `shop` with traffic, which a Kanary adopts."""

from typing import Any

from engine.render.objects import SKIP_MIRROR_LABEL
from tests.integration.scene import Scene, routes

Json = dict[str, Any]

PORT = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
THEIRS = {"app": "shop"}
SPEC = {"type": "ClusterIP", "clusterIP": "10.96.0.7", "selector": THEIRS, "ports": [PORT]}
PROXIES = {"kanary.k8s.io/name": "rule"}
ADOPTING = {"destination": "shop", "adoptDestination": True, "routes": routes(myapp_v1=100)}


def start(scene: Scene) -> None:
    """A Deployment, and the Service of its pods."""
    scene.backend("myapp-v1", "10.0.0.1")
    container = {"name": "app", "image": "app", "ports": [{"name": "prom", "containerPort": 9100}]}
    template = {"metadata": {"labels": THEIRS}, "spec": {"containers": [container]}}
    scene.put(
        "apps/v1", "Deployment", "shop", spec={"replicas": 2, "selector": {"matchLabels": THEIRS}, "template": template}
    )
    service(scene)
    scene.wait_for(lambda: leads_to(scene, "shop"))


def service(scene: Scene, **spec: Any) -> None:
    """Its Service, with these fields changed."""
    body = SPEC | spec
    scene.put("v1", "Service", "shop", spec={key: value for key, value in body.items() if value is not None})


def leads_to(scene: Scene, deployment: str) -> bool:
    """Whether all endpoints of the Service are the two pods of this Deployment."""
    endpoints = (scene.get("endpointslices", "shop-0") or {}).get("endpoints") or ()
    names = [endpoint["targetRef"]["name"] for endpoint in endpoints]
    return len(names) == 2 and all(name.startswith(f"{deployment}-") for name in names)


def shop(scene: Scene) -> Json:
    """The Service as it is."""
    found = scene.get("services", "shop")
    assert found
    return found


def writes(scene: Scene) -> list[str]:
    """The methods of the operator's requests that changed the Service."""
    made = scene.server.requests.find(path="/services/shop", watch=False)
    return [request.method for request in made if request.method != "GET"]


def finalizers(scene: Scene) -> list[str]:
    """Of the Kanary."""
    found: list[str] = (scene.kanary() or {"metadata": {}})["metadata"].get("finalizers") or []
    return found


def is_as_it_was(scene: Scene, **spec: Any) -> bool:
    """Whether nothing is left of an adoption; `spec` has what was changed since."""
    now = scene.get("services", "shop")
    marks = now and (now["metadata"].get("annotations") or SKIP_MIRROR_LABEL in now["metadata"].get("labels", {}))
    return bool(now and now["spec"] == {**now["spec"], **SPEC, **spec} and not marks)
