"""The proxy subresource of Services: a request is handed on to an address that the Service's Endpoints name."""

from __future__ import annotations

import http.client
from urllib.parse import quote, urlencode

from .cluster import Cluster
from .errors import ApiError, Object, Subject, bad_request, not_found
from .requests import RawRequest

_TEXT = "text/plain; charset=utf-8"
_WAIT = 30.0  # seconds


class Proxying:
    """Hands requests on to where Services lead."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def forward(self, raw: RawRequest, namespace: str, service: str, below: list[str]) -> tuple[int, bytes, str]:
        """Status, body and content type of the answer. `service` is NAME, NAME:PORT or SCHEME:NAME:PORT."""
        address, port = self._location(namespace, service)
        query = f"?{urlencode(raw.query)}" if raw.query else ""
        path = "/" + "/".join(quote(part, safe="") for part in below) + query
        connection = http.client.HTTPConnection(address, port, timeout=_WAIT)
        try:
            connection.request(raw.method, path, raw.body or None)
            response = connection.getresponse()
            return response.status, response.read(), response.headers.get("Content-Type", "")
        except (OSError, http.client.HTTPException) as error:
            return 503, f"Error trying to reach service: '{error}'".encode(), _TEXT
        finally:
            connection.close()

    def _location(self, namespace: str, service: str) -> tuple[str, int]:
        scheme, name, port = _parts(service)
        if scheme not in ("", "http"):
            raise bad_request(f"this server for tests proxies http alone, and not {scheme}")
        endpoints = self._endpoints(namespace, name)
        if not endpoints.get("subsets"):
            raise _unavailable(f'no endpoints available for service "{name}"')
        for subset in endpoints["subsets"]:
            for candidate in subset.get("ports") or ():
                if candidate.get("name", "") == port and subset.get("addresses"):
                    return subset["addresses"][0]["ip"], candidate["port"]
        raise _unavailable(f'no endpoints available for service "{service}"')

    def _endpoints(self, namespace: str, name: str) -> Object:
        resource = self._cluster.catalog.named("endpoints")
        record = self._cluster.storage.get(resource.storage, namespace, name)
        if record is None:
            raise not_found(Subject("", "endpoints", "Endpoints", name))
        return record.value


def _parts(service: str) -> tuple[str, str, str]:
    match service.split(":"):
        case [name]:
            return "", name, ""
        case [name, port]:
            return "", name, port
        case [scheme, name, port]:
            return scheme, name, port
    raise bad_request(f'invalid service request "{service}"')


def _unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)
