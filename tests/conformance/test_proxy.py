"""What the proxy of a Service says where it leads nowhere."""

from __future__ import annotations

import pytest

from .collection import Collection


@pytest.mark.parametrize("name", ["nothing", "nothing:http", "http:nothing:http"])
def test_a_service_that_does_not_exist_is_not_found(services: Collection, name: str) -> None:
    services.api.get(f"{services.path}/{name}/proxy/a/b", c="d").refused(404, "NotFound")


def test_a_service_without_an_address_is_unavailable(services: Collection) -> None:
    services.make("empty", spec={"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
    endpoints = Collection(services.api, services.namespace, "v1", "Endpoints", "endpoints")
    endpoints.make("empty", subsets=[])

    refused = services.api.get(f"{services.path}/empty:http/proxy/").refused(503, "ServiceUnavailable")

    assert 'no endpoints available for service "empty"' in refused["message"]


def test_a_name_of_too_many_parts_is_a_bad_request(services: Collection) -> None:
    services.api.get(f"{services.path}/a:b:c:d/proxy/").refused(400, "BadRequest")
