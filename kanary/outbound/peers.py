"""Decides where the request of a check goes: to a pod of the Kanary's namespace, or to an allowed host.

The result is a numerical address, and the connection goes to exactly this one: a name that resolves to another address
in the next moment changes nothing.
"""

import random
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from engine.memo import Memo
from engine.model.checks import HttpUrl
from engine.model.spec import Backend
from engine.model.states import Endpoint
from engine.resolve.endpoints import resolve
from kanary.kube.client import ClusterClient, ClusterError, NotFound
from kanary.kube.resources import PODS
from kanary.outbound.addresses import why_forbidden
from kanary.outbound.allowed import AllowedHosts
from states import Problem

Json = dict[str, Any]

_SERVICE = re.compile(
    r"(?P<name>[a-z]([-a-z0-9]{0,61}[a-z0-9])?)"
    r"(\.(?P<namespace>[a-z0-9]([-a-z0-9]*[a-z0-9])?)(\.svc(\.cluster\.local)?)?)?"
)


class PeerError(Exception):
    """The request must not be sent, or there is nothing to send it to; as text, the reason and the way out."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a request goes."""

    url: HttpUrl
    addresses: tuple[str, ...]
    """Numerical, to be tried in this order."""
    port: int
    """That of the pod, which may differ from that of the URL."""


class Services(Protocol):
    """The part of `engine.ports.ClusterView` that is used here."""

    def service(self, namespace: str, name: str) -> Json | None:
        """The Service, or None."""

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        """The Service's EndpointSlices."""


class Peers:
    """Finds peers. `find` blocks: it requests pods from the API server and names from the resolver."""

    def __init__(self, services: Services, client: ClusterClient, allowed: AllowedHosts) -> None:
        self._services = services
        self._client = client
        self._allowed = allowed

    def find(self, namespace: str, text: str) -> Peer:
        """The peer of a URL that a Kanary of the namespace declares. Raises PeerError."""
        try:
            url = HttpUrl.parse(text)
        except ValueError as error:
            raise PeerError(str(error)) from error
        found = self._of_host(url) if self._allowed.have(url.host, url.port) else self._of_service(namespace, url)
        api_server = self._api_server()
        for address in found.addresses:
            if why := why_forbidden(address, api_server):
                raise PeerError(f"{url.authority} is {address}, {why}, which no check may use")
        return found

    def _of_host(self, url: HttpUrl) -> Peer:
        addresses = _looked_up(url.host, url.port)
        if not addresses:
            raise PeerError(f"{url.host} does not resolve to an address")
        return Peer(url, addresses, url.port)

    def _of_service(self, namespace: str, url: HttpUrl) -> Peer:
        match = _SERVICE.fullmatch(url.host)
        if not match or match["namespace"] not in (None, namespace):
            raise PeerError(
                f"{url.host} is not a Service of namespace {namespace}: name one, or have an admin add "
                f"{url.authority} to KANARY_ALLOWED_HOSTS of the operator"
            )
        backend = Backend(service_name=match["name"], service_port=url.port)
        found = resolve(
            backend,
            where="",
            namespace=namespace,
            service=self._services.service(namespace, match["name"]),
            slices=self._services.slices(namespace, match["name"]),
            memo=Memo(),
        )
        if isinstance(found, Problem):
            # Without the field of a route.
            raise PeerError(found.message.partition(": ")[2])
        pods = [endpoint for endpoint in found.endpoints if endpoint.pod]
        if not pods:
            others = f", only {len(found.endpoints)} endpoints that are not pods" if found.endpoints else ""
            raise PeerError(f'Service "{match["name"]}" of namespace {namespace} has no ready pod{others}')
        # Each attempt may reach another pod.
        pod = random.choice(pods)  # noqa: S311  no secret
        self._check_pod(namespace, pod)
        return Peer(url, (pod.address,), pod.port)

    def _check_pod(self, namespace: str, endpoint: Endpoint) -> None:
        """Compare the endpoint with its pod: users may write EndpointSlices, but only a kubelet the status of a pod."""
        try:
            pod = self._client.get(PODS, namespace, endpoint.pod)
        except NotFound:
            pod = {}
        except ClusterError as error:
            raise PeerError(f"cannot read pod {endpoint.pod} of namespace {namespace}: {error}") from error
        if endpoint.address not in {entry.get("ip") for entry in (pod.get("status") or {}).get("podIPs") or ()}:
            raise PeerError(f"{endpoint.address} is not an address of pod {endpoint.pod} of namespace {namespace}")

    def _api_server(self) -> set[str]:
        spec = (self._services.service("default", "kubernetes") or {}).get("spec") or {}
        addresses = {*(spec.get("clusterIPs") or ()), spec.get("clusterIP")} - {None, "", "None"}
        for piece in self._services.slices("default", "kubernetes"):
            addresses.update(*(member.get("addresses") or () for member in piece.get("endpoints") or ()))
        host = urlsplit(self._client.host).hostname
        return addresses | {*(_looked_up(host, 0) if host else ())}


def _looked_up(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host, which may be an address; empty if there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
