from __future__ import annotations

import dataclasses
import math
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.render.haproxy import (
    Balance,
    OnEmptyRoute,
    ProxyConfig,
    ProxyProtocol,
    Route,
    Server,
    render,
    split_of,
)
from engine.render.turns import STRIDE
from tests.haproxy.strategies import configs

ONE, TWO = "app-v1:http", "app-v2:_9090"
SERVERS = (Server("10.0.0.10", 80), Server("10.0.0.9", 80), Server("10.0.0.9", 8080), Server("2001:db8::1", 80))


def config(*routes: Route, **changes: Any) -> ProxyConfig:
    plain = ProxyConfig(routes or (Route(ONE, 100, SERVERS),), OnEmptyRoute.REDISTRIBUTE, 3600, 60)
    return dataclasses.replace(plain, **changes)


def server_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  server ")]


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1\n  server evil 10.0.0.2:80",
        "10.0.0.1 ",
        " 10.0.0.1",
        "10.0.0.1 weight 0",
        "10.0.0.1#",
        "10.0.0.1:80",
        "[2001:db8::1]",
        "${HOME}",
        "example.org",
        "localhost",
        "",
        "10.0.0.1\x00",
        "10.0.0.1\r",
        "010.0.0.1",
        "10.0.0.0/24",
        "fe80::1%eth0",
        "fe80::1%\nglobal",
        "unix@/run/socket",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "::ffff:224.0.0.1",
    ],
)
def test_anything_but_the_address_of_one_host_is_refused_by_name(address: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        Server(address, 80)
    assert repr(address) in str(refused.value)


@pytest.mark.parametrize("address", [0x0A000001, b"\x0a\x00\x00\x01", None, ("10.0.0.1",)])
def test_an_address_that_is_no_text_is_refused(address: object) -> None:
    """ipaddress takes integers and bytes for addresses."""
    with pytest.raises(ValueError, match="address"):
        Server(address, 80)  # type: ignore[arg-type]


@pytest.mark.parametrize("port", [0, -1, 65536, 80.0, True, "80", "80 weight 0", "+1", "", None])
def test_anything_but_a_port_number_is_refused_by_name(port: object) -> None:
    with pytest.raises(ValueError, match="port") as refused:
        Server("10.0.0.1", port)  # type: ignore[arg-type]
    assert repr(port) in str(refused.value)


@pytest.mark.parametrize("weight", [-1, 101, 33.3, True, "80", None, math.nan])
def test_anything_but_a_whole_weight_from_0_to_100_is_refused_by_name(weight: object) -> None:
    with pytest.raises(ValueError, match="weight") as refused:
        Route(ONE, weight, ())  # type: ignore[arg-type]
    assert repr(weight) in str(refused.value)


@pytest.mark.parametrize(
    "backend",
    [
        "",
        "app",
        "app:",
        ":http",
        "app:http:80",
        "App:http",
        "app_1:http",
        "app.shop:http",
        "1app:http",
        "app-:http",
        "app:http-",
        "app:-http",
        "app:__9090",
        "app:http\nglobal",
        "app:http\n",
        "app:http server",
        "a" * 64 + ":80",
    ],
)
def test_a_backend_that_is_no_service_and_port_is_refused_by_name(backend: str) -> None:
    with pytest.raises(ValueError, match="Service and port") as refused:
        Route(backend, 100, ())
    assert repr(backend) in str(refused.value)


def test_two_routes_to_one_backend_are_refused() -> None:
    with pytest.raises(ValueError, match="same backend"):
        config(Route(ONE, 50, SERVERS), Route(ONE, 50, SERVERS))


@pytest.mark.parametrize("weights", [(), (0,), (0, 0), (99,), (50, 51), (100, 100)])
def test_weights_that_do_not_sum_to_100_are_refused_with_their_sum(weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"sum to {sum(weights)}"):
        ProxyConfig(
            tuple(Route(f"app-v{number}:http", weight, SERVERS) for number, weight in enumerate(weights)),
            OnEmptyRoute.FAIL,
            3600,
            60,
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("idle_seconds", 0),
        ("idle_seconds", 2_147_484),
        ("idle_seconds", "1h"),
        ("drain_seconds", 0),
        ("drain_seconds", 2_147_484),
        ("drain_seconds", 1.5),
        ("connect_milliseconds", 0),
        ("threads", 0),
        ("threads", 65),
        ("max_connections", 0),
        ("max_connections", 1_000_001),
        ("split_port", 0),
        ("ops_port", 65536),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} {value!r}"):
        config(**{field: value})


def test_one_port_for_both_purposes_is_refused() -> None:
    with pytest.raises(ValueError, match="split_port and ops_port are both 9000"):
        config(split_port=9000, ops_port=9000)


@pytest.mark.parametrize("policy", ["fail", "", None])
def test_a_policy_that_does_not_exist_is_refused(policy: object) -> None:
    with pytest.raises(ValueError, match="OnEmptyRoute"):
        config(on_empty_route=policy)


def test_a_policy_may_be_given_by_its_word() -> None:
    assert render(config(on_empty_route="Redistribute")).text == render(config()).text


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("2001:DB8:0:0::1", "2001:db8::1"),
        # Python versions disagree on how to spell this address: it is an IPv4 host.
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_address_has_one_spelling(spelled: str, canonical: str) -> None:
    assert Server(spelled, 80) == Server(canonical, 80)
    assert Server(spelled, 80).address == canonical


@given(configs(), st.randoms(use_true_random=False))
def test_the_order_of_servers_and_doubles_among_them_make_no_difference(
    original: ProxyConfig, order: random.Random
) -> None:
    def shuffled(route: Route) -> Route:
        servers = [*route.servers, *route.servers[:2]]
        order.shuffle(servers)
        return dataclasses.replace(route, servers=tuple(servers))

    other = dataclasses.replace(original, routes=tuple(map(shuffled, original.routes)))
    assert render(other) == render(original)


def test_servers_are_listed_by_family_number_and_port() -> None:
    assert server_lines(render(config()).text) == [
        "server 10.0.0.9:80 10.0.0.9:80",
        "server 10.0.0.9:8080 10.0.0.9:8080",
        "server 10.0.0.10:80 10.0.0.10:80",
        "server 2001:db8::1:80 [2001:db8::1]:80",
    ]


@given(st.integers(1, 400), st.integers(1, 400))
def test_of_the_rest_of_the_text_nothing_says_which_servers_a_route_has(before: int, after: int) -> None:
    """So that a running proxy can take them and leave them without a reload."""

    def rest(count: int) -> list[str]:
        servers = tuple(Server(f"10.0.{number // 250}.{number % 250}", 80) for number in range(count))
        lines = render(config(Route(ONE, 40, servers), Route(TWO, 60, SERVERS[:1]))).text.splitlines()
        return [line for line in lines if "  server 10.0." not in line and "proc.digest str" not in line]

    assert rest(before) == rest(after)


def test_a_backend_is_called_by_its_service_and_port_wherever_its_route_stands() -> None:
    one, two = Route(ONE, 60, SERVERS[:1]), Route(TWO, 40, SERVERS[1:2])
    for routes in (one, two), (two, one):
        text = render(config(*routes)).text
        assert "backend app-v1:http\n  balance roundrobin\n  server 10.0.0.10:80 10.0.0.10:80\n" in text
        assert "backend app-v2:_9090\n  balance roundrobin\n  server 10.0.0.9:80 10.0.0.9:80\n" in text


def test_a_route_of_weight_0_is_not_written_so_its_pods_may_come_and_go() -> None:
    """Otherwise every pod of a version that gets no traffic would roll the proxies."""
    one, none = Route(ONE, 100, SERVERS[:1]), Route(TWO, 0, ())
    assert render(config(one, Route(TWO, 0, SERVERS))).digest == render(config(one, none)).digest
    assert TWO not in render(config(one, none)).text


@pytest.mark.parametrize(
    "change",
    [
        {"routes": (Route(ONE, 100, SERVERS[:1]),)},
        {"routes": (Route(ONE, 99, SERVERS), Route(TWO, 1, SERVERS))},
        {"idle_seconds": 3601},
        {"drain_seconds": 61},
        {"connect_milliseconds": 501},
        {"threads": 3},
        {"max_connections": 7},
        {"balance": Balance.LEAST_CONNECTIONS},
        {"routes": (Route(ONE, 100, SERVERS, ProxyProtocol.V1),)},
        {"routes": (Route(ONE, 100, SERVERS, ProxyProtocol.V2),)},
        {"split_port": 9000},
        {"ops_port": 9000},
    ],
)
def test_the_digest_changes_with_whatever_the_proxies_are_to_do(change: dict[str, Any]) -> None:
    assert render(config(**change)).digest != render(config()).digest


def test_half_of_the_digest_stays_while_only_servers_come_and_go() -> None:
    """Over a thousand, so that more descriptors are reserved as well."""

    def digest(count: int, **changes: Any) -> str:
        servers = tuple(Server(f"10.0.{number // 250}.{number % 250 + 1}", 80) for number in range(count))
        return render(config(Route(ONE, 40, servers), Route(TWO, 60, SERVERS[:1]), **changes)).digest

    digests = [digest(count) for count in (1, 2, 1200)]
    assert len(set(digests)) == 3
    assert {len(each) for each in digests} == {24}
    (split,) = set(map(split_of, digests))
    # A route without servers has no turns, and the others take its share.
    others = digest(0), digest(1, idle_seconds=60), digest(1, on_empty_route="Fail"), digest(1, threads=1)
    assert split not in map(split_of, others)


@pytest.mark.parametrize("header", ProxyProtocol)
def test_another_header_is_more_than_servers_that_come_and_go(header: ProxyProtocol) -> None:
    plain, announced = (render(config(Route(ONE, 100, SERVERS, version))) for version in (None, header))
    assert split_of(plain.digest) != split_of(announced.digest)


def test_hold_and_fail_are_the_same_to_a_proxy_and_redistribute_is_not() -> None:
    routes = Route(ONE, 80, SERVERS), Route(TWO, 20, SERVERS)
    held, failed, shared = (config(*routes, on_empty_route=policy) for policy in ("Hold", "Fail", "Redistribute"))
    assert render(held).digest == render(failed).digest != render(shared).digest


def test_the_proxy_listens_on_ipv6_where_a_server_has_it_or_when_told() -> None:
    four, six = Route(ONE, 100, SERVERS[:3]), Route(ONE, 100, SERVERS)
    assert "v6only" not in render(config(four)).text
    assert render(config(six)).text.count("v6only") == 2
    assert render(config(four, ipv6=True)).text.count("v6only") == 2


@given(configs())
def test_the_text_names_its_own_digest_and_ends_in_a_newline(config: ProxyConfig) -> None:
    rendered = render(config)
    assert f"\n  set-var proc.digest str({rendered.digest})\n" in rendered.text
    assert rendered.text.endswith("\n")
    assert not rendered.text.endswith("\n\n")


@given(configs())
def test_the_text_is_printable_ascii_without_quotes_and_variables(config: ProxyConfig) -> None:
    """Quotes, backslashes and $ are what HAProxy expands."""
    for line in render(config).text.splitlines():
        assert line.isascii()
        assert line == "" or line.isprintable()
        assert not set(line) & set("\"'\\$")


def test_the_stride_visits_every_slot_of_every_round() -> None:
    assert all(math.gcd(STRIDE, total) == 1 for total in range(1, 101))


def test_no_round_that_empty_routes_can_leave_is_served_in_long_runs() -> None:
    """Over any stretch of a round, any set of adjacent slots is within 6 connections of its share."""
    assert max(worst_deviation(total) for total in range(1, 101)) <= 6


@given(configs())
def test_each_backend_stands_in_the_order_of_turns_as_often_as_its_weight_says(config: ProxyConfig) -> None:
    """The order is one text: a stretch of it is a name, filled up with dots."""
    sharing = {
        route.backend: route.weight
        for route in config.routes
        if route.weight and (route.servers or config.on_empty_route is not OnEmptyRoute.REDISTRIBUTE)
    }
    found = re.search(r" str\((.+)\),bytes\(txn\.at,(\d+)\)$", render(config).text, re.MULTILINE)
    if found is None:
        assert not sharing
        return
    order, width = found[1], int(found[2])
    turns = Counter(order[at : at + width].rstrip(".") for at in range(0, len(order), width))
    unit = math.gcd(*sharing.values())
    assert turns == {backend: weight // unit for backend, weight in sharing.items()}


@pytest.mark.parametrize(("version", "word"), [("V1", " send-proxy"), ("V2", " send-proxy-v2"), (None, "")])
def test_the_servers_of_a_route_are_sent_the_header_that_it_asks_for(version: Any, word: str) -> None:
    asking, silent = Route(ONE, 50, SERVERS[:1], version), Route(TWO, 50, SERVERS[1:2])
    assert server_lines(render(config(asking, silent)).text) == [
        f"server 10.0.0.10:80 10.0.0.10:80{word}",
        "server 10.0.0.9:80 10.0.0.9:80",
    ]


@pytest.mark.parametrize("version", ["v1", "", "V3", 1])
def test_a_version_of_the_header_that_does_not_exist_is_refused(version: Any) -> None:
    with pytest.raises(ValueError, match="ProxyProtocol"):
        Route(ONE, 100, SERVERS, version)


@pytest.mark.parametrize("balance", ["random", "LEASTCONN", "", None])
def test_a_balance_that_does_not_exist_is_refused(balance: Any) -> None:
    with pytest.raises(ValueError, match="Balance"):
        config(balance=balance)


def worst_deviation(total: int) -> float:
    """Of the first n slots for every n, how far the number in any interval is from n x its length / total.

    Other stretches of the same length are these ones turned round the circle, which turns intervals into intervals.
    """
    visited = [0] * total
    worst = 0.0
    for length in range(1, total + 1):
        visited[length * STRIDE % total] += 1
        surplus = highest = lowest = 0.0
        for count in visited:
            surplus += count - length / total
            highest, lowest = max(highest, surplus), min(lowest, surplus)
        worst = max(worst, highest - lowest)
    return worst
