"""A Service with traffic that is switched to the proxies of a Kanary: what it was, and how it becomes that again.

Only the selector and the target port are changed, in one write. So kube-proxy sees the same Service, and the
EndpointSlices of the proxies exist before those of the former pods are deleted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.model.spec import KanarySpec
from engine.render.objects import ADOPTED_ANNOTATION, HASH_ANNOTATION, KANARY_LABEL, Identity, hash_of

Json = dict[str, Any]

PROXY_PORT = "split"
"""The name of the port on which the proxies' pods listen."""
FINALIZER = "kanary.k8s.io/adopted-destination"
"""On a Kanary while it may have an adopted Service, which must not select proxies that are deleted."""


class Adoption(NamedTuple):
    """The content of the annotation."""

    kanary: str = ""
    uid: str = ""
    selector: Mapping[str, str] = {}
    target_port: int | str | None = None


def adoption_of(service: Mapping[str, Any]) -> Adoption:
    """What the annotation of a Service says; without a valid one, or of another kind of object, nothing."""
    if service.get("kind") != "Service":
        return Adoption()
    text = ((service.get("metadata") or {}).get("annotations") or {}).get(ADOPTED_ANNOTATION)
    try:
        read = json.loads(text or "{}")
        found = Adoption(read["kanary"], read["uid"], read["selector"], read["targetPort"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return Adoption()
    names = [found.kanary, found.uid, *(found.selector.values() if isinstance(found.selector, dict) else (None,))]
    is_port = isinstance(found.target_port, int | str) and not isinstance(found.target_port, bool)
    is_valid = all(isinstance(name, str) for name in names) and is_port
    return found if is_valid and found.selector else Adoption()


def adopter(service: Mapping[str, Any]) -> str:
    """The uid of the Kanary that has adopted this Service, or an empty string."""
    return adoption_of(service).uid


def adoption_problem(spec: KanarySpec, service: Mapping[str, Any]) -> str:
    """Why a Service cannot be adopted, with the way out; empty if it can."""
    return next(_problems(spec, service), "")


def _problems(spec: KanarySpec, service: Mapping[str, Any]) -> Iterator[str]:
    metadata, declared = service["metadata"], service.get("spec") or {}
    owner: Json = next(iter(metadata.get("ownerReferences") or ()), {})
    is_new, selector = not adopter(service), declared.get("selector") or {}
    local = [name for name in ("externalTrafficPolicy", "internalTrafficPolicy") if declared.get(name) == "Local"]
    found: tuple[tuple[object, str], ...] = (
        (metadata.get("deletionTimestamp"), "is being deleted: wait until it is, or remove its finalizers"),
        (
            owner,
            f"belongs to {owner.get('kind')} {owner.get('name')}, which may switch it back: choose another name, or "
            "remove its ownerReferences",
        ),
        (
            declared.get("type") == "ExternalName",
            "has the type ExternalName, and leads to no pods: choose another name",
        ),
        (
            declared.get("clusterIP") == "None",
            "is headless, so that its clients connect to the pods by their addresses: choose another name",
        ),
        (is_new and not selector, "has no selector, so that others write its endpoints: choose another name"),
        (
            is_new and KANARY_LABEL in selector,
            f"selects proxies already, and lacks the annotation {ADOPTED_ANNOTATION}: give it its former selector",
        ),
        (
            declared.get("publishNotReadyAddresses"),
            "has publishNotReadyAddresses, so that proxies would receive connections before they are ready: set it to "
            "false",
        ),
        (
            is_new and local,
            f"has {' and '.join(local)} Local, so that nodes without a proxy would drop connections: set it to Cluster",
        ),
    )
    yield from (text for applies, text in found if applies)
    yield from _port_problems(spec, declared.get("ports") or ())


def _port_problems(spec: KanarySpec, ports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if spec.ports:
        yield "would need the ports of spec.ports, which are not adopted: leave them out, or choose another name"
    others = [f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in ports if not _is_served(port, spec)]
    if len(others) == len(ports):
        yield f"has no TCP port {spec.port}, but {', '.join(others)}: set spec.port to one of its TCP ports"
    elif others:
        yield (
            f"also has port {', '.join(others)}, which no route serves: move it to a Service of its own, with this "
            "selector"
        )


def _is_served(port: Mapping[str, Any], spec: KanarySpec) -> bool:
    return port.get("port") == spec.port and port.get("protocol", "TCP") == "TCP"


def switched(owner: Identity, spec: KanarySpec, live: Json) -> Json:
    """The fields of an adoptable Service that change, for the version that was read."""
    former = _former(live)
    port = next(port for port in live["spec"]["ports"] if _is_served(port, spec))
    kept = {name: port[name] for name in ("name",) if port.get(name)}
    content = {
        "kanary": owner.name,
        "uid": owner.uid,
        "selector": former.selector,
        "targetPort": former.target_port,
    }
    desired: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": live["metadata"]["name"],
            "namespace": owner.namespace,
            "labels": {},
            "annotations": {ADOPTED_ANNOTATION: json.dumps(content, sort_keys=True)},
        },
        "spec": {
            "selector": owner.selector,
            "ports": [{**kept, "port": spec.port, "protocol": "TCP", "targetPort": PROXY_PORT}],
        },
    }
    desired["metadata"]["annotations"][HASH_ANNOTATION] = hash_of(desired)
    if version := live["metadata"].get("resourceVersion"):
        desired["metadata"]["resourceVersion"] = version
    return desired


def given_back(live: Json) -> Json:
    """The metadata and spec of an adopted Service as it was; what others have changed meanwhile stays."""
    former, spec, metadata = _former(live), live["spec"], live["metadata"]
    of_kanary = ADOPTED_ANNOTATION, HASH_ANNOTATION
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key not in of_kanary}
    ports = [
        {**port, "targetPort": former.target_port} if port.get("targetPort") == PROXY_PORT else port
        for port in spec.get("ports") or ()
    ]
    spec = {**spec, "selector": {**former.selector}, "ports": ports}
    return {**live, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


def _former(live: Mapping[str, Any]) -> Adoption:
    """What a Service was, or what others have made of it since.

    A `kubectl apply` of its manifest adds the former selector to that of the proxies.
    """
    known, spec = adoption_of(live), live["spec"]
    selector = {key: value for key, value in (spec.get("selector") or {}).items() if key != KANARY_LABEL}
    port: Json = next(iter(spec.get("ports") or ()), {})
    target = port.get("targetPort", port.get("port"))
    if known.uid and (target == PROXY_PORT or not spec.get("selector")):
        target = known.target_port
    return known._replace(selector=selector or known.selector, target_port=target)
