"""Which maxConnections the source ports of a proxy allow."""

from __future__ import annotations

import pytest

from engine.capacity import short_of_ports
from engine.render.sysctls import ALL_SYSCTLS
from tests.unit.kanaries import route, spec


def short(most: int | None, sysctls: dict[str, str] | None = None, **pods: int) -> str:
    weights = {name: 100 // len(pods) for name in pods}
    proxy = {} if most is None else {"maxConnections": most}
    declared = spec(routes=[route(name, weight) for name, weight in weights.items()], proxy=proxy)
    endpoints = {str(each.backend): range(pods[each.backend.service_name]) for each in declared.routes}
    return short_of_ports(declared, endpoints, ALL_SYSCTLS if sysctls is None else sysctls)


def test_a_route_with_too_few_pods_for_its_share_of_the_connections_is_named_with_the_numbers() -> None:
    message = short(300_000, v1=4, v2=2)
    assert "92160 connections to the 2 pods of v2:" in message
    assert "150000" in message


@pytest.mark.parametrize(("pods", "is_short"), [(3, True), (4, False)])
def test_without_the_wider_range_a_pod_takes_fewer_connections(pods: int, is_short: bool) -> None:
    assert bool(short(100_000, {}, v1=pods)) is is_short


def test_the_default_is_always_possible_and_a_route_without_pods_is_not_reported() -> None:
    assert short(None, {}, v1=1) == short(1_000_000, v1=0) == ""
