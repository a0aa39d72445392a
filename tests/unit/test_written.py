"""What was last written for the proxies: kept beside their configuration, and read however spoilt it may be."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.model.spec import Backend, KanarySpec
from engine.model.states import APPLIED_KEY, CONFIG_KEY, Endpoint, Written, read_written
from engine.plan import plan
from engine.render.objects import config_map
from tests.unit.kanaries import OWNER, Json, json_values, kanary, ports, valid_specs
from tests.unit.kanaries import names as service_names
from tests.unit.observations import V1, V2, applied, objects_of, observed, split
from tests.unit.snapshots import NOW

LAST = applied(revision=3, serial=5, entry=17, ipv6=True)
RAW = json.loads(LAST.to_json())


def mounted(text: str) -> Json:
    return {"metadata": {"name": "myapp-split-haproxy"}, "data": {APPLIED_KEY: text, CONFIG_KEY: "global\n"}}


def spoilt(**changes: Any) -> Json:
    return mounted(json.dumps(RAW | changes))


def test_what_was_written_is_read_from_the_config_map() -> None:
    written = Written(LAST, "global\n", "defaults\n", "public key")
    assert read_written(config_map(OWNER, written)) == written


def test_it_takes_little_room_there() -> None:
    assert "\n" not in LAST.to_json()
    assert ": " not in LAST.to_json()


_endpoints = st.builds(
    Endpoint,
    st.ip_addresses(network="10.0.0.0/8").map(str) | st.ip_addresses(network="fd00::/16").map(str),
    st.integers(1, 65535),
    st.sampled_from(["", "a-pod"]),
)


@given(valid_specs, st.data(), st.integers(0, 10**6), st.datetimes(timezones=st.just(UTC)), st.booleans())
def test_whatever_is_written_is_read_as_it_was(
    declared: Json, data: st.DataObject, revision: int, written_at: datetime, ipv6: bool
) -> None:
    read = KanarySpec.model_validate(declared)
    endpoints = {str(route.backend): tuple(data.draw(st.lists(_endpoints, max_size=3))) for route in read.all_routes}
    made = applied(read, revision=revision, written_at=written_at, ipv6=ipv6, endpoints=endpoints)
    assert read_written(mounted(made.to_json())).applied == made


@pytest.mark.parametrize("absent", [None, {}, {"metadata": {}}, {"data": None}, {"data": {}}, {"data": {"x": "y"}}])
def test_where_nothing_was_written_nothing_is_read(absent: Json | None) -> None:
    assert read_written(absent) == Written()


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '"x"', "5", "{", "NaN", '{"spec":{}}', pytest.param("[" * 100_000, id="deep")],
)
def test_of_a_spoilt_text_the_configuration_itself_is_read(text: str) -> None:
    assert read_written(mounted(text)) == Written(None, "global\n", "")


NO_PODS: Json = {str(V1): [], str(V2): []}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spec": None}, id="no spec"),
        pytest.param({"spec": kanary(destination="A b")["spec"]}, id="a name that is none"),
        pytest.param({"spec": kanary(routes=[])["spec"]}, id="no routes"),
        pytest.param({"spec": {**kanary()["spec"], "routes": kanary()["spec"]["routes"][:1]}}, id="weights of 80"),
        pytest.param({"endpoints": {}}, id="endpoints of no backend"),
        pytest.param({"endpoints": NO_PODS | {"myapp-v3:http": []}}, id="endpoints of a third backend"),
        pytest.param({"endpoints": {str(V1): [], "myapp-v2:9091": []}}, id="endpoints of another port"),
        pytest.param({"endpoints": None}, id="no endpoints"),
        pytest.param({"endpoints": NO_PODS | {str(V1): ["10.0.0.1"]}}, id="an endpoint that is text"),
        pytest.param({"endpoints": NO_PODS | {str(V1): [["10.0.0.1", "x", ""]]}}, id="a port that is text"),
        pytest.param({"endpoints": NO_PODS | {str(V1): [["10.0.0.1", 0, ""]]}}, id="port 0"),
        pytest.param({"endpoints": NO_PODS | {str(V1): [["10.0.0.1\nfrontend x", 80, ""]]}}, id="two lines"),
        pytest.param({"endpoints": NO_PODS | {str(V1): [[167772161, 80, ""]]}}, id="an address that is a number"),
        pytest.param({"endpoints": NO_PODS | {str(V1): [["10.0.0.1", 80, None]]}}, id="a pod that is none"),
        pytest.param({"slots": []}, id="no slots"),
        pytest.param({"slots": [[0, str(V1)], [1, ""]]}, id="a backend without a slot"),
        pytest.param({"slots": [[0, str(V1)], [1, str(V1)], [2, str(V2)]]}, id="a backend with two slots"),
        pytest.param({"slots": [[0, str(V1)], [2, str(V2)]]}, id="a slot that is missing"),
        pytest.param({"slots": [[0, str(V1)], [0, str(V2)]]}, id="a slot of two backends"),
        pytest.param({"doors": [[404, "metrics"]]}, id="a port of the proxies that others are missing before"),
        pytest.param({"revision": "x"}, id="a revision that is text"),
        pytest.param({"revision": float("inf")}, id="an infinite revision"),
        pytest.param({"revision": None}, id="no revision"),
        pytest.param({"serial": -1}, id="a negative serial"),
        pytest.param({"serial": 2**53}, id="a serial beyond what JSON has"),
        pytest.param({"generation": None}, id="no generation"),
        pytest.param({"strategy": "Sometimes"}, id="an unknown strategy"),
        pytest.param({"writtenAt": "yesterday"}, id="a time that is none"),
        pytest.param({"writtenAt": "2026-01-01T00:00:00"}, id="a time without zone"),
    ],
)
def test_what_somebody_spoilt_is_as_good_as_none(changes: Json) -> None:
    """All is rendered anew then, as for a Kanary that was never served."""
    assert read_written(spoilt(**changes)).applied is None


@given(st.text() | json_values.map(json.dumps))
def test_whatever_text_it_is_nothing_is_raised(text: str) -> None:
    assert read_written(mounted(text)).applied is None


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(RAW)), json_values, min_size=1))
def test_whatever_is_read_of_what_somebody_spoilt_can_be_served(changes: Json) -> None:
    written = read_written(spoilt(**changes))
    if written.applied is not None:
        assert objects_of(plan(observed(last=written), split(written.applied.spec)))
        assert NOW - written.applied.written_at is not None


def test_the_time_is_kept_whatever_its_zone() -> None:
    read = read_written(spoilt(writtenAt="2026-01-01T14:00:00+02:00")).applied
    assert read
    assert NOW - read.written_at == timedelta(0)


# The one identity of a backend


@pytest.mark.parametrize(
    ("port", "text"),
    [("http", "v1:http"), (9090, "v1:9090"), ("9090", "v1:_9090"), ("0", "v1:_0"), ("9-0", "v1:9-0")],
)
def test_a_backend_is_its_service_and_port_and_a_name_of_digits_is_no_number(port: str | int, text: str) -> None:
    backend = Backend(service_name="v1", service_port=port)
    assert str(backend) == text
    assert Backend.parse(text) == backend


_ports = ports | st.from_regex(r"[0-9]{1,63}", fullmatch=True)


@given(service_names, _ports, service_names, _ports)
@example("v", 80, "v", "80")
def test_every_backend_is_read_back_and_no_two_are_written_alike(
    name: str, port: str | int, other_name: str, other_port: str | int
) -> None:
    one = Backend(service_name=name, service_port=port)
    other = Backend(service_name=other_name, service_port=other_port)
    assert Backend.parse(str(one)) == one
    assert (str(one) == str(other)) is (one == other)


@pytest.mark.parametrize(
    "text", ["", ":", "v1", "v1:", ":80", "v1:0", "v1:65536", "v1:http:80", "v1:_", "v1:٣", "V1:80"]
)
def test_a_text_that_names_no_backend_is_rejected(text: str) -> None:
    with pytest.raises(ValidationError):
        Backend.parse(text)
