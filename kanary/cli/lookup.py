"""Reads objects from the cluster, for `kanary render --from-cluster` and `kanary plan`."""

from collections.abc import Sequence
from typing import Any

from engine.fleet.reports import Report
from engine.resolve.slices import slices_from_endpoints
from kanary.cli.proxies import Reading, read_proxies
from kanary.kube.client import ClusterClient, NotFound
from kanary.kube.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES, Resource
from kanary.operator.transforms import SERVICE_OF_SLICE

Json = dict[str, Any]


class ClusterLookup:
    """The current Services and their endpoints, and the version. The constructor and all methods raise ClusterError."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._client = ClusterClient.connect(kubeconfig=kubeconfig, context=context)
        self.namespace = self._client.namespace

    def version(self) -> str:
        """The API server's version, such as `v1.31.2`."""
        return self._client.server_version()

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, or None if it does not exist."""
        return self._get(SERVICES, namespace, name)

    def slices(self, namespace: str, service: str) -> list[Json]:
        """The endpoints of the Service as EndpointSlices, converted from Endpoints if the cluster has no slices."""
        if self._client.serves(ENDPOINT_SLICES):
            slices, _ = self._client.list(ENDPOINT_SLICES, namespace, f"{SERVICE_OF_SLICE}={service}")
            return slices
        endpoints = self._get(ENDPOINTS, namespace, service)
        return slices_from_endpoints(endpoints) if endpoints else []

    def _get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        try:
            return self._client.get(resource, namespace, name)
        except NotFound:
            return None


class LiveObjects:
    """The objects of the cluster, each read once, for `kanary plan`. All methods raise ClusterError."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._objects: dict[tuple[Resource, str, str], Json | None] = {}
        self._lists: dict[tuple[Resource, str, str], Sequence[Json]] = {}
        self._readings: dict[tuple[str, str], Sequence[Reading]] = {}

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """The object, or None."""
        key = resource, namespace, name
        if key not in self._objects:
            try:
                self._objects[key] = self._client.get(*key)
            except NotFound:
                self._objects[key] = None
        return self._objects[key]

    def list(self, resource: Resource, namespace: str, selector: str = "") -> Sequence[Json]:
        """The objects with these labels."""
        key = resource, namespace, selector
        if key not in self._lists:
            self._lists[key], _ = self._client.list(resource, namespace, selector or None)
        return self._lists[key]

    def serves(self, resource: Resource) -> bool:
        """Whether the cluster has this kind."""
        return self._client.serves(resource)

    def readings(self, namespace: str, kanary: str) -> Sequence[Reading]:
        """What the proxies of a Kanary report, read from each one."""
        key = namespace, kanary
        if key not in self._readings:
            self._readings[key] = read_proxies(self._client, namespace, kanary)
        return self._readings[key]

    def reports(self, namespace: str, kanary: str) -> dict[str, Report]:
        """The reports that could be read, by pod."""
        return {each.proxy.name: each.proxy.report for each in self.readings(namespace, kanary) if each.proxy.report}
