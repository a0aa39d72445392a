"""Reads Services and endpoints from the cluster, for `kanary render --from-cluster`."""

from typing import Any

from engine.resolve.slices import slices_from_endpoints
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
