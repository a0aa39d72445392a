"""Services, endpoints and proxies that stand in for those of a cluster, for `kanary plan --offline`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.model.spec import API_VERSION, KIND, Backend, KanarySpec
from engine.render.objects import Identity
from kanary.cli.imagined import ImaginedCluster
from kanary.kube.resources import DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES, Json
from kanary.operator.transforms import SERVICE_OF_SLICE

Declared = Sequence[tuple[Json, KanarySpec]]

_NETWORK, _PROXIES = "192.0.2.", "198.51.100."
"""For documentation (RFC 5737): no cluster has such pods."""
_PORT = 9000


def inner_first(kanaries: Declared) -> Declared:
    """In an order in which each Kanary follows those to which it leads, as far as there is one."""
    rest, ordered = list(kanaries), []
    while rest:
        found = next((each for each in rest if not _leads_to(each, rest)), rest[0])
        rest.remove(found)
        ordered.append(found)
    return ordered


def _leads_to(of: tuple[Json, KanarySpec], others: Declared) -> bool:
    namespace, services = of[0]["metadata"]["namespace"], {route.backend.service_name for route in of[1].routes}
    others = [each for each in others if each is not of and each[0]["metadata"]["namespace"] == namespace]
    return any(spec.destination in services for _, spec in others)


def put_stand_ins(cluster: ImaginedCluster, kanaries: Declared) -> None:
    """Give each backend a Service, if there is none, and one endpoint.

    The destination of a Kanary before those that lead to it is left out: it gets the Service of that Kanary.
    """
    kanaries = inner_first(kanaries)
    made = {
        (kanary["metadata"]["namespace"], spec.destination)
        for number, (kanary, spec) in enumerate(kanaries)
        if not any(_leads_to(each, [(kanary, spec)]) for each in kanaries[:number])
    }
    backends = dict.fromkeys(
        (kanary["metadata"]["namespace"], route.backend) for kanary, spec in kanaries for route in spec.all_routes
    )
    by_service: dict[tuple[str, str], list[Backend]] = {}
    for namespace, backend in sorted(backends, key=str):
        by_service.setdefault((namespace, backend.service_name), []).append(backend)
    owners = {(k["metadata"]["namespace"], spec.destination): k for k, spec in kanaries}
    for number, ((namespace, name), of_service) in enumerate(by_service.items()):
        ports = [*_ports(of_service)]
        service = cluster.service(namespace, name)
        if service is None and (namespace, name) in made:
            continue
        if service is None:
            service = _object("v1", "Service", namespace, name, {"spec": {"ports": ports}})
            if owner := owners.get((namespace, name)):
                service["metadata"]["ownerReferences"] = [_reference(owner)]
            cluster.put(SERVICES, service)
        else:
            ports = (service.get("spec") or {}).get("ports") or ports
        endpoint = {"addresses": [f"{_NETWORK}{number % 254 + 1}"], "conditions": {"ready": True}}
        _put_slice(cluster, namespace, name, ports, [endpoint])


def put_proxies(cluster: ImaginedCluster, owner: Identity) -> None:
    """Have the proxies of the Kanary's Deployment run, behind its destination."""
    deployment = cluster.live(_object("apps/v1", "Deployment", owner.namespace, owner.proxy_name, {}))
    if deployment is None:
        return
    spec, metadata = deployment["spec"], deployment["metadata"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), spec["replicas"])
    cluster.put(DEPLOYMENTS, {**deployment, "status": {"observedGeneration": metadata.get("generation", 0), **counts}})
    endpoints = []
    for number in range(spec["replicas"]):
        name, address = f"{owner.proxy_name}-{number}", f"{_PROXIES}{number + 1}"
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        pod = _object("v1", "Pod", owner.namespace, name, {"spec": {}, "status": status | ready})
        pod["metadata"] |= {**spec["template"]["metadata"], "uid": name}
        cluster.put(PODS, pod)
        reference = {"kind": "Pod", "name": name}
        endpoints.append({"addresses": [address], "conditions": {"ready": True}, "targetRef": reference})
    for service in cluster.owned_by(owner.namespace, owner.uid):
        if service["kind"] == "Service":
            _put_slice(cluster, owner.namespace, service["metadata"]["name"], service["spec"]["ports"], endpoints)


def _put_slice(
    cluster: ImaginedCluster, namespace: str, service: str, ports: Sequence[Json], endpoints: Sequence[Json]
) -> None:
    body = {
        "addressType": "IPv4",
        "ports": [{"name": port.get("name") or "", "port": _PORT, "protocol": "TCP"} for port in ports],
        "endpoints": endpoints,
    }
    piece = _object("discovery.k8s.io/v1", "EndpointSlice", namespace, f"{service}-stand-in", body)
    piece["metadata"]["labels"] = {SERVICE_OF_SLICE: service}
    cluster.put(ENDPOINT_SLICES, piece)


def _ports(backends: Sequence[Backend]) -> Iterator[Json]:
    """Ports of a Service that has all these backends."""
    numbers = [each.service_port for each in backends if isinstance(each.service_port, int)]
    for number in numbers:
        yield {"name": f"port-{number}", "port": number, "protocol": "TCP"}
    free = (number for number in range(1, 65536) if number not in numbers)
    for backend in backends:
        if isinstance(backend.service_port, str):
            yield {"name": backend.service_port, "port": next(free), "protocol": "TCP"}


def _object(api_version: str, kind: str, namespace: str, name: str, body: Mapping[str, object]) -> Json:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": name}, **body}


def _reference(kanary: Json) -> Json:
    metadata = kanary["metadata"]
    named = {"name": metadata["name"], "uid": metadata["uid"]}
    return {"apiVersion": API_VERSION, "kind": KIND, "controller": True, **named}
