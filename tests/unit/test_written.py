"""What the proxies were last given: written beside their configuration, and read however spoilt it may be."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from engine.record import RECORD_KEY, Record, read_record
from engine.target import Defaults, proxy_config, render
from hypothesis import given
from hypothesis import strategies as st

from engine.model.spec import KanarySpec
from engine.resolve.endpoints import Endpoint
from states import UpdateStrategy
from tests.unit.kanaries import OWNER, Json, json_values, kanary, spec, valid_specs
from tests.unit.snapshots import NOW

ENDPOINTS = ((Endpoint("10.0.0.1", 8080, "v1-a"), Endpoint("10.0.0.2", 8080)), (Endpoint("fd00::1", 9000, "v2-a"),))
RECORD = Record(spec(), ENDPOINTS, 3, "0123456789abcdef", NOW)


def config_map(text: str) -> Json:
    return {"metadata": {"name": "myapp-split-haproxy"}, "data": {RECORD_KEY: text, "haproxy.cfg": "global\n"}}


def spoilt(**changes: Any) -> Json:
    return config_map(json.dumps(json.loads(RECORD.to_json()) | changes))


def test_a_record_is_read_as_it_was_written() -> None:
    assert read_record(config_map(RECORD.to_json())) == RECORD


def test_a_record_takes_little_room_in_the_config_map() -> None:
    assert "\n" not in RECORD.to_json()
    assert ": " not in RECORD.to_json()


_endpoints = st.builds(
    Endpoint,
    st.ip_addresses(network="10.0.0.0/8").map(str) | st.ip_addresses(network="fd00::/16").map(str),
    st.integers(1, 65535),
    st.sampled_from(["", "a-pod"]),
)
_written = st.datetimes(timezones=st.just(UTC))


@given(valid_specs, st.data(), st.integers(0, 10**6), _written, st.booleans())
def test_every_record_is_read_as_it_was_written(
    declared: Json, data: st.DataObject, revision: int, written_at: datetime, ipv6: bool
) -> None:
    read = KanarySpec.model_validate(declared)
    endpoints = tuple(tuple(data.draw(st.lists(_endpoints, max_size=3))) for _ in read.routes)
    record = Record(read, endpoints, revision, "0123456789abcdef", written_at, ipv6=ipv6)
    assert read_record(config_map(record.to_json())) == record


@pytest.mark.parametrize("absent", [None, {}, {"metadata": {}}, {"data": None}, {"data": {}}, {"data": {"x": "y"}}])
def test_where_there_is_no_record_none_is_read(absent: Json | None) -> None:
    assert read_record(absent) is None


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '"x"', "5", "{", "NaN", '{"spec":{}}', pytest.param("[" * 100_000, id="deep")],
)
def test_text_that_is_no_record_is_none(text: str) -> None:
    assert read_record(config_map(text)) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spec": None}, id="no spec"),
        pytest.param({"spec": kanary(destination="A b")["spec"]}, id="a name that is none"),
        pytest.param({"spec": kanary(routes=[])["spec"]}, id="no routes"),
        pytest.param({"spec": {**kanary()["spec"], "routes": kanary()["spec"]["routes"][:1]}}, id="weights of 80"),
        pytest.param({"endpoints": []}, id="endpoints of no route"),
        pytest.param({"endpoints": [[], [], []]}, id="endpoints of a third route"),
        pytest.param({"endpoints": None}, id="no endpoints"),
        pytest.param({"endpoints": [["10.0.0.1"], []]}, id="an endpoint that is text"),
        pytest.param({"endpoints": [[["10.0.0.1", "8080", ""]], []]}, id="a port that is text"),
        pytest.param({"endpoints": [[["10.0.0.1", 0, ""]], []]}, id="port 0"),
        pytest.param({"endpoints": [[["10.0.0.1\nfrontend x", 80, ""]], []]}, id="an address of two lines"),
        pytest.param({"endpoints": [[[167772161, 80, ""]], []]}, id="an address that is a number"),
        pytest.param({"endpoints": [[["10.0.0.1", 80, None]], []]}, id="a pod that is none"),
        pytest.param({"endpoints": [[["10.0.0.1", 80]], []]}, id="an endpoint of two fields"),
        pytest.param({"revision": "x"}, id="a revision that is text"),
        pytest.param({"revision": float("inf")}, id="an infinite revision"),
        pytest.param({"revision": None}, id="no revision"),
        pytest.param({"writtenAt": "yesterday"}, id="a time that is none"),
        pytest.param({"writtenAt": "2026-01-01T00:00:00"}, id="a time without zone"),
        pytest.param({"writtenAt": 5}, id="a time that is a number"),
    ],
)
def test_a_record_that_somebody_spoilt_is_none(changes: Json) -> None:
    """All is rendered anew then, as for a Kanary that was never served."""
    assert read_record(spoilt(**changes)) is None


_KEYS = sorted(json.loads(RECORD.to_json()))


@given(st.text() | json_values.map(json.dumps))
def test_whatever_text_it_is_nothing_is_raised(text: str) -> None:
    assert read_record(config_map(text)) is None


@given(st.dictionaries(st.sampled_from(_KEYS), json_values, min_size=1))
def test_whatever_is_read_of_a_spoilt_record_can_be_served(changes: Json) -> None:
    record = read_record(spoilt(**changes))
    if record is not None:
        assert proxy_config(record.spec, record.endpoints)
        assert NOW - record.written_at is not None
        assert render(
            OWNER,
            record.spec,
            record.endpoints,
            last=record,
            revision=1,
            now=NOW,
            strategy=record.strategy,
            defaults=Defaults(),
        ).all_objects


def test_the_time_is_kept_whatever_its_zone() -> None:
    read = read_record(spoilt(writtenAt="2026-01-01T14:00:00+02:00"))
    assert read is not None
    assert NOW - read.written_at == timedelta(0)


def test_a_record_from_before_there_was_a_choice_is_of_proxies_that_are_replaced() -> None:
    raw = json.loads(RECORD.to_json())
    del raw["strategy"]
    read = read_record(config_map(json.dumps(raw)))
    assert read is not None
    assert read.strategy is UpdateStrategy.ROLLING
