"""The engine's view of the cluster, read from the reflectors' copies."""

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from engine.fleet.reports import Report
from engine.model.states import Endpoint
from engine.ports import KanaryName, RetryLaterError, rejected
from engine.render.adoption import adopter
from engine.render.objects import KANARY_LABEL
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient, ClusterError
from kanary.kube.errors import Forbidden
from kanary.kube.pods import addresses_of
from kanary.kube.resources import PODS, REPLICA_SETS, SERVICES, Key, Resource
from kanary.operator.agents import Agents
from kanary.operator.proxy_finder import ProxyFinder, targets_of
from kanary.operator.signing import SigningKey
from kanary.operator.watches import (
    BY_DESTINATION,
    BY_OWNER,
    BY_SERVICE,
    BY_TARGET,
    Watches,
)
from states.timing import HELD_PODS_RECHECK

Json = dict[str, Any]


class View:
    """Implements `engine.ports.ClusterView`."""

    def __init__(self, client: ClusterClient, watches: Watches, agents: Agents, key: SigningKey) -> None:
        self._client = client
        self._watches = watches
        self._agents = agents
        self._key = key
        self._lock = threading.Lock()
        self._addresses: dict[tuple[str, frozenset[str]], tuple[float, Mapping[str, frozenset[str]]]] = {}

    def kanary(self, namespace: str, name: str) -> Json | None:
        """The Kanary, or None."""
        return self._watches.kanaries.get(namespace, name)

    def kanaries_for(self, namespace: str, destination: str) -> Sequence[Json]:
        """The Kanaries of the namespace with this destination."""
        return self._watches.kanaries.lookup(BY_DESTINATION, (namespace, destination))

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, or None."""
        return self._watches.services.get(namespace, name)

    def owned_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services and ConfigMaps whose controller has this uid."""
        owned = [*self._watches.services.lookup(BY_OWNER, uid), *self._watches.config_maps.lookup(BY_OWNER, uid)]
        return [obj for obj in owned if obj["metadata"]["namespace"] == namespace]

    def adopted_by(self, namespace: str, uid: str) -> Sequence[Json]:
        """The Services that this Kanary has adopted. Raises RetryLaterError and RejectedError."""
        return [service for service in self._listed(SERVICES, namespace) if adopter(service) == uid]

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        """The Service's slices."""
        found = self._watches.slices.lookup(BY_SERVICE, (namespace, service))
        # Endpoints are stored in the form of slices.
        return [piece for obj in found for piece in obj.get("slices", (obj,))]

    def proxies_among(self, namespace: str, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, frozenset[KanaryName]]:
        """The endpoints that lead to the proxies of any Kanary, each with these Kanaries."""
        sought = [target for endpoint in endpoints for target in targets_of(namespace, endpoint)]
        pods, services = self._watches.pods, self._watches.services
        if not pods.has_any(BY_TARGET, sought) and not services.has_any(BY_TARGET, sought):
            return {}
        finder = ProxyFinder(
            partial(pods.lookup, BY_TARGET),
            partial(services.lookup, BY_TARGET),
            self.slices,
            lambda key: self._watches.proxy_pod(key) is not None,
        )
        return finder.among(namespace, endpoints)

    def is_stale(self, kanary: Json) -> bool:
        """Whether the API server has a later version of this Kanary. Raises RetryLaterError."""
        metadata = kanary["metadata"]
        try:
            found = self._client.get(KANARIES, metadata["namespace"], metadata["name"])["metadata"]
        except ClusterError as error:
            raise RetryLaterError(f"cannot read the Kanary again: {error}", error.retry_after) from error
        return bool(found["uid"] != metadata["uid"] or found["generation"] > metadata["generation"])

    def live(self, desired: Json) -> Json | None:
        """The object of the same kind, namespace and name, or None."""
        reflector = self._watches.of(desired["apiVersion"], desired["kind"])
        metadata = desired["metadata"]
        return reflector.get(metadata["namespace"], metadata["name"]) if reflector else None

    def proxy_pods(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The HAProxy pods of a Kanary."""
        return self._watches.proxy_pods(Key(namespace, kanary))

    def pod_templates(self, namespace: str, kanary: str) -> Sequence[Json]:
        """The pod templates of a Kanary's ReplicaSets with desired pods. Raises RetryLaterError and RejectedError."""
        found = self._listed(REPLICA_SETS, namespace, f"{KANARY_LABEL}={kanary}")
        return [replica_set["spec"]["template"] for replica_set in found if replica_set["spec"].get("replicas")]

    def _listed(self, resource: Resource, namespace: str, selector: str | None = None) -> Sequence[Json]:
        what = f"cannot list the {resource.kind}s of namespace {namespace}"
        try:
            return self._client.list(resource, namespace, selector)[0]
        except Forbidden as error:
            raise rejected(f"{what}: {error}") from error
        except ClusterError as error:
            raise RetryLaterError(f"{what}: {error}", error.retry_after) from error

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The last report of each of these proxy pods. Raises RetryLaterError."""
        return self._agents.reports(pods)

    def public_key(self) -> str:
        """The public key as PEM, or "" if there is no usable one. Raises RetryLaterError."""
        return self._key.public()

    def pod_addresses(self, namespace: str, names: frozenset[str]) -> Mapping[str, frozenset[str]]:
        """The addresses of those of these pods that have not terminated. Raises RetryLaterError."""
        key, now = (namespace, names), time.monotonic()
        with self._lock:
            fresh = {k: v for k, v in self._addresses.items() if now - v[0] < HELD_PODS_RECHECK.total_seconds()}
            self._addresses = fresh
        if key in fresh:
            return fresh[key][1]
        try:
            pods, _ = self._client.list(PODS, namespace)
        except ClusterError as error:
            raise RetryLaterError(
                f"cannot list the pods of namespace {namespace}: {error}", error.retry_after
            ) from error
        found = {pod["metadata"]["name"]: addresses_of(pod) for pod in pods if pod["metadata"]["name"] in names}
        with self._lock:
            self._addresses[key] = now, found
        return found
