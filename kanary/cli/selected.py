"""The endpoints that a Service of a manifest gets when it is applied: those of the pods that it selects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.render.objects import KANARY_LABEL
from engine.resolve.slices import is_tcp, slices_from_endpoints
from kanary.cli.imagined import ImaginedCluster, ObjectSource
from kanary.kube.pods import addresses_of, is_ready
from kanary.kube.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Json
from kanary.operator.transforms import SERVICE_OF_SLICE


def put_selected(cluster: ImaginedCluster, source: ObjectSource, services: Sequence[Json]) -> None:
    """Have the cluster contain the endpoints of these Services, if it has other ones than the source.

    What leads to proxies stays: the operator reverts an apply that takes connections away from them.
    """
    for each in services:
        namespace, name = each["metadata"]["namespace"], each["metadata"]["name"]
        live = source.get(SERVICES, namespace, name)
        former, spec = ((service or {}).get("spec") or {} for service in (live, cluster.service(namespace, name)))
        if not spec.get("selector") or KANARY_LABEL in (former.get("selector") or {}):
            continue
        selected = _selected(spec, source, namespace)
        if live and selected == _selected(former, source, namespace):
            continue
        if live and source.serves(ENDPOINT_SLICES):
            for piece in source.list(ENDPOINT_SLICES, namespace, f"{SERVICE_OF_SLICE}={name}"):
                cluster.remove(ENDPOINT_SLICES, piece)
        identity = {"namespace": namespace, "name": name}
        endpoints = {"metadata": identity, "subsets": selected}
        cluster.put(ENDPOINTS, endpoints)
        for number, piece in enumerate(slices_from_endpoints(endpoints)):
            of_slice = {"name": f"{name}-{number}", "labels": {SERVICE_OF_SLICE: name}}
            cluster.put(ENDPOINT_SLICES, {**piece, "metadata": {**identity, **of_slice}})


def _selected(spec: Json, source: ObjectSource, namespace: str) -> list[Json]:
    if not (selector := spec.get("selector")):
        return []
    pods = source.list(PODS, namespace, ",".join(f"{key}={value}" for key, value in selector.items()))
    return [*_subsets(spec, pods)]


def _subsets(spec: Json, pods: Sequence[Json]) -> Iterator[Json]:
    """One for each pod: the number of a port that the Service refers to by name may differ."""
    ports = [port for port in spec.get("ports") or () if is_tcp(port)]
    for pod in pods:
        reference = {"kind": "Pod", "name": pod["metadata"]["name"]}
        addresses = [{"ip": address, "targetRef": reference} for address in _addresses(spec, pod)]
        if addresses and not pod["metadata"].get("deletionTimestamp"):
            numbered = [{**port, "port": number} for port in ports if (number := _target(port, pod))]
            is_published = is_ready(pod) or spec.get("publishNotReadyAddresses")
            yield {"addresses" if is_published else "notReadyAddresses": addresses, "ports": numbered}


def _addresses(spec: Json, pod: Json) -> Sequence[str]:
    """The addresses of the IP families of the Service. The default is that of the cluster: the pod's first address."""
    first = (pod.get("status") or {}).get("podIP") or ""
    families = spec.get("ipFamilies") or [_family(first)]
    return sorted(address for address in addresses_of(pod) if _family(address) in families)


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _target(port: Json, pod: Json) -> int:
    """The port of the pod to which a TCP port of the Service leads; 0 if the pod does not have it."""
    target = port.get("targetPort") or port["port"]
    if not isinstance(target, str):
        return int(target)
    # A sidecar is an init container that does not end.
    sidecars = (each for each in pod["spec"].get("initContainers") or () if each.get("restartPolicy") == "Always")
    containers = [*pod["spec"]["containers"], *sidecars]
    found = (each for container in containers for each in container.get("ports") or () if is_tcp(each))
    return next((int(each["containerPort"]) for each in found if each.get("name") == target), 0)
