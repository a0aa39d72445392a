"""Arbitrary configurations, for property-based tests."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from engine.render.config import (
    MAX_CONNECTIONS,
    MAX_SECONDS,
    Balance,
    OnEmptyRoute,
    Pool,
    ProxyConfig,
    ProxyProtocol,
    Server,
)


@st.composite
def weights(draw: st.DrawFn, most: int, total: int = 100) -> list[int]:
    """Up to `most` weights that sum to `total`, zeros among them."""
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=most - 1)))
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]


def in_percent(tenths: list[int]) -> list[Decimal]:
    return [Decimal(number) / 10 for number in tenths]


def _is_unicast(address: IPv4Address | IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    return not any(form.is_multicast or form.is_unspecified for form in (address, mapped) if form is not None)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(_is_unicast).map(str)
ports = st.integers(1, 65535)
servers = st.builds(Server, addresses, ports)


@st.composite
def backends(draw: st.DrawFn, count: int) -> list[str]:
    """As many Services with a port: a number, or a name, which may be made of digits."""
    service = draw(st.from_regex(r"[a-z][-a-z0-9]{0,59}", fullmatch=True))
    port = ports.map(str) | st.from_regex(r"[a-z0-9]{0,7}[a-z][a-z0-9]{0,7}|_[0-9]{1,15}", fullmatch=True)
    return [f"{service}{number}:{draw(port)}" for number in range(count)]


@st.composite
def configs(draw: st.DrawFn) -> ProxyConfig:
    pods = st.lists(servers, max_size=6).map(tuple)
    headers = st.none() | st.sampled_from(ProxyProtocol)
    split = draw(weights(most=110) | weights(most=110, total=1000).map(in_percent))
    routes = tuple(
        Pool(backend, weight, draw(pods), draw(headers))
        for backend, weight in zip(draw(backends(len(split))), split, strict=True)
    )
    split_port, ops_port = draw(st.lists(ports, min_size=2, max_size=2, unique=True))
    return ProxyConfig(
        routes,
        on_empty_route=draw(st.sampled_from(OnEmptyRoute)),
        unacknowledged_seconds=draw(st.integers(1, MAX_SECONDS)),
        idle_seconds=draw(st.integers(1, MAX_SECONDS)),
        drain_seconds=draw(st.integers(1, MAX_SECONDS)),
        connect_milliseconds=draw(st.integers(1, MAX_SECONDS * 1000)),
        threads=draw(st.integers(1, 64)),
        max_connections=draw(st.integers(1, MAX_CONNECTIONS)),
        balance=draw(st.sampled_from(Balance)),
        ipv6=draw(st.booleans()),
        split_port=split_port,
        ops_port=ops_port,
    )
