"""The endpoints that a new Service of a manifest gets when it is applied: those of the pods that it selects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.resolve.slices import slices_from_endpoints
from kanary.cli.imagined import ImaginedCluster, ObjectSource
from kanary.kube.pods import addresses_of, is_ready, port_of
from kanary.kube.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Json
from kanary.operator.transforms import SERVICE_OF_SLICE


def put_selected(cluster: ImaginedCluster, source: ObjectSource, services: Sequence[Json]) -> None:
    """Have the cluster contain the endpoints of these Services that the source does not have yet."""
    for service in services:
        metadata, selector = service["metadata"], (service.get("spec") or {}).get("selector")
        namespace, name = metadata["namespace"], metadata["name"]
        if selector and source.get(SERVICES, namespace, name) is None:
            pods = source.list(PODS, namespace, ",".join(f"{key}={value}" for key, value in selector.items()))
            identity = {"namespace": namespace, "name": name}
            endpoints = {"metadata": identity, "subsets": [*_subsets(service["spec"].get("ports") or (), pods)]}
            cluster.put(ENDPOINTS, endpoints)
            for number, piece in enumerate(slices_from_endpoints(endpoints)):
                of_slice = {"name": f"{name}-{number}", "labels": {SERVICE_OF_SLICE: name}}
                cluster.put(ENDPOINT_SLICES, {**piece, "metadata": {**identity, **of_slice}})


def _subsets(ports: Sequence[Json], pods: Sequence[Json]) -> Iterator[Json]:
    """One for each pod: the number of a port that the Service refers to by name may differ."""
    for pod in pods:
        reference = {"kind": "Pod", "name": pod["metadata"]["name"]}
        addresses = [{"ip": address, "targetRef": reference} for address in sorted(addresses_of(pod))]
        if addresses and not pod["metadata"].get("deletionTimestamp"):
            numbered = [{**port, "port": number} for port in ports if (number := _target(port, pod))]
            yield {"addresses" if is_ready(pod) else "notReadyAddresses": addresses, "ports": numbered}


def _target(port: Json, pod: Json) -> int:
    """The port of the pod to which a port of the Service leads; 0 if the pod does not have it."""
    target = port.get("targetPort") or port["port"]
    return port_of(pod, target, 0) if isinstance(target, str) else int(target)
