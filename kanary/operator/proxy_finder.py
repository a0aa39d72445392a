"""Finds the endpoints that lead to the proxies of a Kanary, whatever Services are in between."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.model.states import Endpoint
from engine.ports import KanaryName
from kanary.kube.resources import Json, Key
from kanary.operator.indexes import Target, external_addresses, kanaries_of_owned, owning_kanaries


@dataclass(frozen=True, slots=True)
class ProxyFinder:
    """Reads what an endpoint may name."""

    pods_at: Callable[[Target], Sequence[Json]]
    """Those of Kanary, by label."""
    services_at: Callable[[Target], Sequence[Json]]
    slices: Callable[[str, str], Sequence[Json]]
    """Of a Service, by namespace and name."""
    is_proxy: Callable[[Key], bool]
    """Whether a pod is a proxy by ownership."""

    def among(self, namespace: str, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, frozenset[KanaryName]]:
        """The endpoints of a namespace that lead to the proxies of any Kanary, each with these Kanaries."""
        found = {each: frozenset(self._kanaries_at(namespace, targets_of(namespace, each))) for each in endpoints}
        return {endpoint: kanaries for endpoint, kanaries in found.items() if kanaries}

    def _kanaries_at(
        self, namespace: str, targets: Sequence[Target], *, of_services: bool = True
    ) -> Iterator[KanaryName]:
        """The Kanaries to whose proxies these targets lead. The address of a Service is not among its endpoints.

        Users of other namespaces must not take endpoints away: labels and addresses of their choice prove nothing.
        """
        for target in targets:
            for pod in self.pods_at(target):
                if pod["metadata"]["namespace"] == namespace or self.is_proxy(Key.of(pod)):
                    yield from kanaries_of_owned(pod)
            for service in self.services_at(target) if of_services else ():
                if service["metadata"]["namespace"] == namespace or target not in external_addresses(service):
                    yield from owning_kanaries(service)
                    yield from self._kanaries_at(namespace, [*self._targets_behind(service)], of_services=False)

    def _targets_behind(self, service: Json) -> Iterator[Target]:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        for piece in self.slices(namespace, name):
            for member in piece.get("endpoints") or ():
                yield from member["addresses"][:1]
                if pod := (member.get("targetRef") or {}).get("name"):
                    yield namespace, pod


def targets_of(namespace: str, endpoint: Endpoint) -> Sequence[Target]:
    """The address is where connections go; the cluster may know a pod before its address."""
    return (endpoint.address, (namespace, endpoint.pod)) if endpoint.pod else (endpoint.address,)
