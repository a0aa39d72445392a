"""Which pods are proxies, by the controllers of their controllers."""

from typing import Any

from engine.render.objects import Identity, controller_of
from kanary.kube.reflector import Reflector
from kanary.operator.indexes import kanaries_of_owned

Json = dict[str, Any]


def is_proxy(pod: Json, replica_sets: Reflector, deployments: Reflector) -> bool:
    """Whether a pod belongs to a ReplicaSet of the Deployment of its Kanary.

    Whoever may create pods can give one our labels, and a reference to any owner.
    """
    replica_set = _controller(pod, replica_sets)
    deployment = replica_set and _controller(replica_set, deployments)
    names = {Identity(*kanary, "").proxy_name for kanary in kanaries_of_owned(pod)}
    return bool(deployment and deployment["metadata"]["name"] in names)


def _controller(obj: Json, among: Reflector) -> Json | None:
    """The controller of an object, if it is one of these."""
    reference = controller_of(obj)
    if reference.get("kind") != among.resource.kind:
        return None
    found = among.get(obj["metadata"]["namespace"], str(reference.get("name")))
    return found if found and found["metadata"]["uid"] == reference.get("uid") else None
