from __future__ import annotations

import dataclasses
import math
import random
import re
from collections import Counter
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kanary_agent import texts
from kanary_agent.rollback_plan import rolled_back

from engine.model.weight import read_weight
from engine.render import selection
from engine.render.config import Balance, OnEmptyRoute, Pool, ProxyConfig, ProxyProtocol, Server
from engine.render.haproxy import render, split_of
from engine.render.rollback import RollbackPlan
from engine.render.selection import STRIDE, TURNS, split_data
from engine.render.slots import slot_names
from tests.haproxy.strategies import configs, weights

SERVERS = (Server("10.0.0.10", 80), Server("10.0.0.9", 80), Server("10.0.0.9", 8080), Server("2001:db8::1", 80))


def config(*routes: Pool, **changes: Any) -> ProxyConfig:
    plain = ProxyConfig(routes or (Pool("v1:http", 100, SERVERS),), OnEmptyRoute.REDISTRIBUTE, 3600, 60)
    return dataclasses.replace(plain, **changes)


def one(weight: int, servers: tuple[Server, ...], header: Any = None) -> Pool:
    return Pool("v1:http", weight, servers, header)


def two(weight: int, servers: tuple[Server, ...], header: Any = None) -> Pool:
    return Pool("v2:9090", weight, servers, header)


def digest(config: ProxyConfig) -> str:
    return render(config).digest


def text_of(config: ProxyConfig) -> str:
    return render(config).text


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


@settings(max_examples=500)
@given(parts=st.lists(st.integers(0, 260).map(str) | st.sampled_from(["", "00", "01", "٣"]), min_size=3, max_size=5))
def test_ipv4_addresses_are_read_as_by_ipaddress(parts: list[str]) -> None:
    text = ".".join(parts)
    try:
        expected = IPv4Address(text)
    except ValueError:
        expected = IPv4Address("0.0.0.0")
    if expected.is_unspecified or expected.is_multicast:
        with pytest.raises(ValueError, match="address"):
            Server(text, 80)
        return
    server = Server(text, 80)
    assert (server.address, server.order) == (str(expected), (4, int(expected), 80))


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


@pytest.mark.parametrize("weight", [-1, 101, 33.33, True, "80", None, math.nan])
def test_anything_but_a_weight_with_one_decimal_from_0_to_100_is_refused_by_name(weight: object) -> None:
    with pytest.raises(ValueError, match="weight") as refused:
        Pool("v1:http", weight, ())  # type: ignore[arg-type]
    assert repr(weight) in str(refused.value)


@pytest.mark.parametrize(
    "backend",
    [
        *(
            "",
            "v1",
            ":80",
            "v1:",
            "split",
            "none",
            "counter",
            "V1:80",
            "1v:80",
            "-v:80",
            "v-:80",
            "v1:80:80",
            "v1:__80",
        ),
        *("v1: 80", "v1:80 ", "v1:80\n", "v1:80\nbackend x", "v1:a_b", "v1.x:80", "v1:$(x)", f"{'v' * 64}:80"),
    ],
)
def test_anything_but_the_service_and_port_of_a_backend_is_refused_by_name(backend: str) -> None:
    """A newline would be a directive of its own, and without a colon it might be a section of ours."""
    with pytest.raises(ValueError, match="is not the Service and port of a backend") as refused:
        Pool(backend, 100, ())
    assert repr(backend) in str(refused.value)


@pytest.mark.parametrize("backend", ["v:1", "v1:http", "v1:_9090", "v-1:9-0", f"{'v' * 63}:{'p' * 63}"])
def test_the_slot_of_a_backend_is_named_in_a_variable_and_in_a_comment(backend: str) -> None:
    text = text_of(config(Pool(backend, 100, SERVERS[:1]), slots=("", backend, "former:http")))
    server = "server 10.0.0.10:80 10.0.0.10:80 tcp-ut 240s"
    assert f"\n  set-var proc.slots str(/{backend}/)\n" in text
    assert f"\n# {backend}\nbackend b\n  balance roundrobin\n  {server}\n" in text
    assert text.count("\n# free\nbackend ") == 2


@pytest.mark.parametrize("slots", [("v2:http", ""), ("v1:http", "v1:http")])
def test_slots_that_are_not_one_for_each_backend_are_refused(slots: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"v1:http has {slots.count('v1:http')} slots"):
        config(slots=slots)


def test_the_order_of_routes_that_keep_their_slots_makes_no_difference() -> None:
    routes, slots = (one(60, SERVERS), two(40, SERVERS)), ("v2:9090", "", "v1:http")
    assert render(config(*routes, slots=slots)) == render(config(*reversed(routes), slots=slots))


def test_nothing_but_servers_and_variables_depends_on_which_routes_have_the_slots() -> None:
    """So that a running proxy can take other routes without a reload."""

    def rest(*routes: Pool, slots: tuple[str, ...]) -> list[str]:
        lines = text_of(config(*routes, slots=slots)).splitlines()
        return [line for line in lines if not re.match(r"#|  server |  set-var proc\.(digest|slots|split) ", line)]

    before = rest(one(60, SERVERS), two(40, SERVERS), slots=("v1:http", "v2:9090", "", ""))
    assert rest(two(100, SERVERS, ProxyProtocol.V2), slots=("v1:http", "v2:9090", "", "")) == before
    assert rest(one(1, SERVERS), two(99, SERVERS), slots=("", "", "v1:http", "v2:9090")) == before


def test_two_routes_to_one_backend_are_refused() -> None:
    with pytest.raises(ValueError, match="two routes have the same backend"):
        config(one(50, SERVERS), one(50, SERVERS))


@pytest.mark.parametrize("weights", [(), (0,), (0, 0), (99,), (50, 51), (100, 100)])
def test_weights_that_do_not_sum_to_100_are_refused_with_their_sum(weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"sum to {sum(weights)}"):
        ProxyConfig(tuple(Pool(f"v{n}:http", w, SERVERS) for n, w in enumerate(weights)), OnEmptyRoute.FAIL, 3600, 60)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unacknowledged_seconds", 0),
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
    assert render(config(on_empty_route="Redistribute")) == render(config())


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


@settings(max_examples=30)
@given(configs(), st.randoms(use_true_random=False))
def test_the_order_of_servers_and_doubles_among_them_make_no_difference(
    original: ProxyConfig, order: random.Random
) -> None:
    def shuffled(route: Pool) -> Pool:
        servers = [*route.servers, *route.servers[:2]]
        order.shuffle(servers)
        return dataclasses.replace(route, servers=tuple(servers))

    other = dataclasses.replace(original, routes=tuple(map(shuffled, original.routes)))
    assert render(other) == render(original)


def test_servers_are_listed_by_family_number_and_port() -> None:
    assert server_lines(text_of(config())) == [
        "server 10.0.0.9:80 10.0.0.9:80 tcp-ut 240s",
        "server 10.0.0.9:8080 10.0.0.9:8080 tcp-ut 240s",
        "server 10.0.0.10:80 10.0.0.10:80 tcp-ut 240s",
        "server 2001:db8::1:80 [2001:db8::1]:80 tcp-ut 240s",
    ]


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 400))
def test_of_the_rest_of_the_text_nothing_says_which_servers_a_route_has(before: int, after: int) -> None:
    """So that a running proxy can take them and leave them without a reload."""

    def rest(count: int) -> list[str]:
        servers = tuple(Server(f"10.0.{number // 250}.{number % 250}", 80) for number in range(count))
        lines = text_of(config(one(40, servers), two(60, SERVERS[:1]))).splitlines()
        return [line for line in lines if "  server 10.0." not in line and "proc.digest str" not in line]

    assert rest(before) == rest(after)


def test_routes_keep_their_order() -> None:
    assert digest(config(one(60, SERVERS), two(40, SERVERS))) != digest(config(two(40, SERVERS), one(60, SERVERS)))


def test_nothing_but_one_variable_depends_on_the_weights() -> None:
    """So that a running proxy can change them without a reload, from 0 and to 0 as well."""

    def rest(*weights: int) -> list[str]:
        first, second = weights
        lines = text_of(config(one(first, SERVERS[:3]), two(second, SERVERS[:1]))).splitlines()
        return [line for line in lines if not re.match(r"  set-var proc\.(digest|split) ", line)]

    assert rest(100, 0) == rest(0, 100) == rest(37, 63)


@pytest.mark.parametrize("policy", OnEmptyRoute)
@pytest.mark.parametrize("servers", [(), SERVERS[:1], SERVERS], ids=["no servers", "fewer servers", "another family"])
def test_pods_of_a_route_of_weight_0_change_nothing_of_the_split(
    policy: OnEmptyRoute, servers: tuple[Server, ...]
) -> None:
    before, after = (config(one(100, SERVERS[:3]), two(0, s), on_empty_route=policy) for s in (SERVERS[:3], servers))
    assert split_of(digest(before)) == split_of(digest(after))


def test_a_route_of_weight_0_is_checked_so_that_it_can_get_a_weight() -> None:
    text = text_of(config(one(100, SERVERS[:1]), two(0, SERVERS[1:2])))
    server = "10.0.0.9:80 10.0.0.9:80 tcp-ut 240s"
    assert text.endswith(f"\nbackend b\n  balance roundrobin\n  server {server}\n")


@pytest.mark.parametrize(
    "change",
    [
        {"routes": (one(99, SERVERS), two(1, SERVERS))},
        {"routes": (two(100, SERVERS),)},
        {"routes": (one(100, ()),)},
        {"routes": (one(100, (*SERVERS, Server("10.0.0.11", 80)), ProxyProtocol.V1),)},
        {"routes": (one(100, SERVERS[:3]),)},
        {"idle_seconds": 3601},
        {"unacknowledged_seconds": 241},
        {"drain_seconds": 61},
        {"connect_milliseconds": 501},
        {"threads": 3},
        {"max_connections": 7},
        {"balance": Balance.LEAST_CONNECTIONS},
        {"on_empty_route": OnEmptyRoute.FAIL, "routes": (one(80, SERVERS), two(20, SERVERS))},
        {"split_port": 9000},
        {"ops_port": 9000},
    ],
)
def test_both_halves_of_the_digest_change_with_whatever_the_proxies_are_to_do(change: dict[str, Any]) -> None:
    plain, changed = digest(config()), digest(config(**change))
    assert split_of(changed) != split_of(plain)
    assert changed[12:] != plain[12:]


@pytest.mark.parametrize(
    "change",
    [{"routes": (one(100, SERVERS[:1]),)}, {"routes": (one(100, SERVERS[1:3]),)}, {"kanary": "uid-1"}],
    ids=["fewer servers", "other servers", "another origin"],
)
def test_the_first_half_says_how_connections_are_split_and_nothing_of_which_servers_there_are(
    change: dict[str, Any],
) -> None:
    four = config(one(100, SERVERS[:3]))
    plain, changed = digest(four), digest(dataclasses.replace(four, **change))
    assert (split_of(changed) == split_of(plain), changed == plain) == (True, False)
    assert re.fullmatch(r"[0-9a-f]{24}", plain)


def test_the_first_half_stays_while_the_split_does_and_does_not_return_with_it() -> None:
    """A proxy that still serves the first configuration, and is about to load the second, does not serve the third."""
    numbered = [config(one(100, SERVERS[:3]), kanary="uid-1", serial=serial) for serial in (5, 6, 8)]
    numbered[1] = dataclasses.replace(numbered[1], routes=(one(100, SERVERS[:1]),))
    other = config(one(100, SERVERS[:3]), kanary="uid-1", serial=7, idle_seconds=7)
    made = [render(numbered[0])]
    for each in (numbered[1], other, numbered[2]):
        made.append(render(each, made[-1].digest, made[-1].split_serial))
    first, second, third, fourth = (split_of(each.digest) for each in made)
    assert first == second
    assert len({second, third, fourth}) == 3
    assert [each.split_serial for each in made] == [5, 5, 7, 8]


def test_a_uid_cannot_end_its_line() -> None:
    with pytest.raises(ValueError, match="is not the uid"):
        config(kanary="uid\n1")


def test_proxies_that_send_another_header_are_distinguished() -> None:
    """Pods that expect one do not understand connections without it: the Kanary is not Ready until all send it."""
    with_header = digest(config(one(100, SERVERS, ProxyProtocol.V1)))
    assert split_of(with_header) != split_of(digest(config()))
    assert split_of(with_header) != split_of(digest(config(one(100, SERVERS, ProxyProtocol.V2))))


@settings(max_examples=50)
@given(configs(), st.data())
def test_servers_that_come_and_go_leave_the_first_half_as_long_as_their_route_has_any(
    original: ProxyConfig, data: st.DataObject
) -> None:
    def fewer(route: Pool) -> Pool:
        kept = data.draw(st.integers(1, len(route.servers))) if route.servers else 0
        return dataclasses.replace(route, servers=route.servers[:kept])

    reached = dataclasses.replace(original, ipv6=True)
    other = dataclasses.replace(reached, routes=tuple(map(fewer, reached.routes)))
    assert split_of(digest(other)) == split_of(digest(reached))
    assert (digest(other) == digest(reached)) is (server_lines(text_of(other)) == server_lines(text_of(reached)))


def test_the_log_of_failures_changes_the_text_and_not_the_split() -> None:
    """A proxy with another strategy splits connections in the same way."""
    logging = config(failure_log=True)
    assert "\n  log fd@3 " in text_of(logging)
    assert "  log" not in text_of(config())
    assert (split_of(digest(logging)) == split_of(digest(config())), digest(logging) == digest(config())) == (
        True,
        False,
    )


def test_the_watched_revision_changes_the_text_and_not_the_split() -> None:
    watching = config(watched=7)
    assert "\n  set-var proc.revision int(7)\n" in text_of(watching)
    assert "\n  set-var proc.revision int(0)\n" in text_of(config())
    assert split_of(digest(watching)) == split_of(digest(config()))
    assert digest(watching) != digest(config())


def plan_of(**last_good: float) -> RollbackPlan:
    weights = {f"{name}:http": read_weight(weight) for name, weight in last_good.items()}
    return RollbackPlan(weights, {"v2:http": {7: 0.1}}, ("v1:http",), 3, 1e-5, 1.5, 0.001)


def test_a_rollback_returns_to_the_split_of_the_last_good_weights_and_is_no_part_of_the_split() -> None:
    routes = (Pool("v1:http", 90, SERVERS), Pool("v2:http", 10, SERVERS[:1]))
    watching = config(*routes, kanary="uid", serial=3, watched=7)
    planned = dataclasses.replace(watching, rollback=plan_of(v1=100))
    text = text_of(planned)
    assert split_of(digest(planned)) == split_of(digest(watching))
    good = tuple(dataclasses.replace(route, weight=weight) for route, weight in zip(routes, (100, 0), strict=True))
    assert texts.split_of(rolled_back(text)) == texts.split_of(text_of(config(*good)))
    assert texts.digest_of(rolled_back(text)) == "0" * 12 + digest(planned)[12:]
    assert "proc.revision int(0)" in rolled_back(text)
    assert rolled_back(rolled_back(text)) == rolled_back(text)
    assert texts.parts_of(rolled_back(text)).fixed == texts.parts_of(text).fixed
    assert rolled_back(text_of(watching)) == text_of(watching)


def test_a_rollback_needs_weights_of_the_routes_and_a_watched_revision() -> None:
    with pytest.raises(ValueError, match="sum to 90"):
        plan_of(v1=90)
    with pytest.raises(ValueError, match="not among the routes"):
        config(watched=7, rollback=plan_of(v3=100))
    with pytest.raises(ValueError, match="no watched revision"):
        config(rollback=plan_of(v1=100))


@pytest.mark.parametrize("watched", [-1, True, "7"])
def test_the_watched_revision_is_a_number(watched: Any) -> None:
    with pytest.raises(ValueError, match=r"watched .* is not an integer from 0"):
        config(watched=watched)


def test_hold_and_fail_are_the_same_to_a_proxy_and_redistribute_is_not() -> None:
    routes = one(80, SERVERS), two(20, SERVERS)
    held, failed, shared = (config(*routes, on_empty_route=policy) for policy in ("Hold", "Fail", "Redistribute"))
    assert digest(held) == digest(failed) != digest(shared)


def test_the_proxy_listens_on_ipv6_where_a_server_has_it_or_when_configured() -> None:
    four, six = one(100, SERVERS[:3]), one(100, SERVERS)
    assert "v6only" not in text_of(config(four))
    assert text_of(config(six)).count("v6only") == 2
    assert text_of(config(four, ipv6=True)).count("v6only") == 2


@settings(max_examples=30)
@given(configs())
def test_the_text_names_its_own_digest_and_ends_in_a_newline(config: ProxyConfig) -> None:
    text = text_of(config)
    assert f"\n  set-var proc.digest str({digest(config)})\n" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@settings(max_examples=30)
@given(configs())
def test_the_text_is_printable_ascii_without_quotes_and_variables(config: ProxyConfig) -> None:
    """Quotes, backslashes and $ are what HAProxy expands. The only quoted texts are constant."""
    constant = re.compile(r' "(#1%\[var\(\w+\.split\),bytes\(sess\.\w+,\d\)\]|HAProxy 3\.2\.0 to 3\.2\.18 [\w ,:.]+)"$')
    for line in (constant.sub("", line) for line in text_of(config).splitlines()):
        assert line.isascii()
        assert line == "" or line.isprintable()
        assert not set(line) & set("\"'\\$")


def test_the_stride_visits_every_place_of_every_round() -> None:
    assert all(math.gcd(STRIDE, total) == 1 for total in range(1, TURNS + 1))


def test_no_round_that_empty_routes_can_leave_is_served_in_long_runs() -> None:
    """Over any stretch of a round of whole weights, any set of adjacent places is within 6 connections of its share."""
    assert max(worst_deviation(total) for total in range(1, 101)) <= 6


@settings(max_examples=10, deadline=None)
@given(st.integers(101, TURNS))
# The worst of all 1000.
@example(768)
@example(988)
@example(835)
def test_rounds_of_weights_with_a_decimal_are_served_in_no_long_runs_either(total: int) -> None:
    assert worst_deviation(total) <= 39


@settings(max_examples=30)
@given(configs())
def test_the_data_have_as_many_turns_for_each_route_as_its_weight_and_then_the_weights_to_redistribute(
    config: ProxyConfig,
) -> None:
    """The number of turns is always the same: a connection may be between two rules while the data change."""
    found = re.search(r"^  set-var proc\.split str\((\w+)\)$", text_of(config), re.MULTILINE)
    assert found
    names = slot_names(len(config.routes))
    length = len(names[0])
    turns, weights = found[1][: TURNS * length], found[1][TURNS * length :]
    order = Counter(turns[at : at + length] for at in range(0, len(turns), length))
    assert [order[name] for name in names] == [10 * route.weight for route in config.routes]
    shared = [int(weights[at : at + 4]) for at in range(0, len(weights), 4)]
    unit = math.gcd(*order.values())
    redistributed = [
        order[name] // unit if route.servers else 0 for name, route in zip(names, config.routes, strict=True)
    ]
    redistributes = config.on_empty_route is OnEmptyRoute.REDISTRIBUTE
    assert shared == ([TURNS // unit, *redistributed] if redistributes else [])


@given(weights(most=10))
def test_whole_weights_repeat_a_round_of_100_turns(split: list[int]) -> None:
    routes = [Pool(f"v{number}:http", weight, SERVERS) for number, weight in enumerate(split)]
    turns = split_data(routes, redistribute=False)
    assert turns == turns[:100] * 10


@given(weights(most=10, total=8))
def test_eighths_repeat_a_round_of_8_turns(split: list[int]) -> None:
    routes = [Pool(f"v{number}:http", 12.5 * weight, SERVERS) for number, weight in enumerate(split)]
    turns = split_data(routes, redistribute=False)
    assert turns == turns[:8] * 125


def test_a_change_of_servers_does_not_compute_the_schedule_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand turns of a hundred routes take milliseconds."""
    routes = [Pool(f"v{number}:http", 0.9 if number else 10.9, SERVERS) for number in range(100)]
    others = [dataclasses.replace(route, servers=SERVERS[:1]) for route in routes]
    former = split_data(routes, redistribute=True)
    monkeypatch.delattr(selection, "schedule")
    assert split_data(others, redistribute=True) == former


@pytest.mark.parametrize(("version", "word"), [("V1", "send-proxy"), ("V2", "send-proxy-v2"), (None, "")])
def test_the_servers_of_a_route_are_sent_the_header_that_it_asks_for(version: Any, word: str) -> None:
    asking, silent = one(50, SERVERS[:1], version), two(50, SERVERS[1:2])
    first, second = server_lines(text_of(config(asking, silent)))
    assert first.split()[3:] == [*([word] if word else []), "tcp-ut", "240s"]
    assert "send-proxy" not in second


def test_a_server_that_receives_another_header_is_another_one() -> None:
    """A running proxy cannot change the header of a server."""
    lines = (server_lines(text_of(config(one(100, SERVERS[:1], version))))[0] for version in ("V1", "V2", None))
    assert [line.split()[1] for line in lines] == ["10.0.0.10:80_V1", "10.0.0.10:80_V2", "10.0.0.10:80"]


@pytest.mark.parametrize("version", ["v1", "", "V3", 1])
def test_a_version_of_the_header_that_does_not_exist_is_refused(version: Any) -> None:
    with pytest.raises(ValueError, match="ProxyProtocol"):
        one(100, SERVERS, version)


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
