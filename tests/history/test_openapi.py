"""docs/history-api.yaml matches the server: paths, parameters, statuses and shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from kanary.history.faults import FaultReason
from kanary.history.wire import ROOT, Refusal
from scripts import history_api
from tests.history.serving import record_shop, running, serving

DESCRIBED = yaml.safe_load((Path(__file__).parents[2] / history_api.PAGE).read_text())
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
KNOWN = {
    "namespace": "shop",
    "name": "web",
    "revision": 25,
    "digest": f"{25:016x}",
    "at": "2026-11-23T14:00:00Z",
    "since": "2020-01-01T00:00:00Z",
    "until": "2030-01-01T00:00:00+00:00",
    "kinds": "WeightChange,PhaseChange,ChangeResult",
    "deleted": "true",
    "limit": 10,
    "uid": "u-1",
}

every_path = pytest.mark.parametrize("path", DESCRIBED["paths"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose history has entries of every kind."""
    url = f"sqlite:///{tmp_path_factory.mktemp('openapi')}/history.db"
    record_shop(url)
    with serving(url) as server:
        yield f"http://127.0.0.1:{server.port}{ROOT}"


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose database does not exist."""
    with serving(f"sqlite:///{tmp_path_factory.mktemp('away')}/history.db") as server:
        yield f"http://127.0.0.1:{server.port}{ROOT}"


def parameters(path: str, *, required_only: bool = False) -> dict[str, object]:
    described = DESCRIBED["paths"][path]["get"]["parameters"]
    names = [each["name"] for each in described if each["required"] or not required_only]
    return {name: KNOWN[name] for name in names if name != "after"}


def ask(base: str, path: str, query: Mapping[str, object]) -> Any:
    """Status and body of the response, after a check of status, type, headers and shape; no field is undescribed."""
    response = (case := SCHEMA[path]["GET"].Case(query=dict(query))).call(base_url=base)
    case.validate_response(response, excluded_checks=[schemathesis.checks.not_a_server_error])
    body = response.json()
    name = "Refused" if response.status_code != 200 else answer_of(path)
    assert undescribed(body, DESCRIBED["components"]["schemas"][name]) == []
    return response.status_code, body


def answer_of(path: str) -> str:
    schema = DESCRIBED["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return str(schema["$ref"]).rsplit("/", 1)[1]


def undescribed(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """The fields that the description lacks: its schemas allow additional ones, for later versions."""
    if "$ref" in schema:
        return undescribed(value, DESCRIBED["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if isinstance(value, list):
        return [name for item in value for name in undescribed(item, schema["items"])]
    if not isinstance(value, dict) or "properties" not in schema:
        return undescribed(value, option) if (option := named_option(schema)) else []
    if schema.get("additionalProperties"):
        # An entry has the fields of its kind, which have their own schemas for changes and results.
        return []
    own = [name for name in value if name not in schema["properties"]]
    return own + [name for key in value.keys() - own for name in undescribed(value[key], schema["properties"][key])]


def named_option(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((option for option in schema.get("anyOf", ()) if "$ref" in option), None)


# The description


def test_the_page_is_what_the_operations_say() -> None:
    assert history_api.text() == (Path(__file__).parents[2] / history_api.PAGE).read_text(), "run: make manifests"


def test_everything_is_described() -> None:
    for path, item in DESCRIBED["paths"].items():
        assert item.keys() == {"get"}
        assert item["get"]["summary"], path
        assert all(parameter["description"] for parameter in item["get"]["parameters"]), path
    refused = DESCRIBED["components"]["responses"]["Refused"]["description"]
    assert [reason for reason in (*Refusal, FaultReason.UNAVAILABLE) if f"`{reason}`" not in refused] == []


# The server


@every_path
@pytest.mark.parametrize("required_only", [True, False])
def test_what_there_is_is_as_described(base: str, path: str, required_only: bool) -> None:
    query = parameters(path, required_only=required_only)
    status, body = ask(base, path, query)
    assert status == 200
    assert body["items"] != []
    if not required_only and body["next"]:
        assert ask(base, path, query | {"after": body["next"]})[0] == 200


@every_path
def test_a_bad_request_is_as_described(base: str, path: str) -> None:
    status, body = ask(base, path, parameters(path) | {"colour": "red"})
    assert (status, body["reason"]) == (400, "BadParameter")


@every_path
def test_what_there_is_not_is_as_described(base: str, path: str) -> None:
    query = parameters(path, required_only=True)
    nothing = {"digest": "nothing"} if "digest" in query else {"namespace": "shop", "name": "nothing"}
    assert ask(base, path, query | nothing) == (200, {"items": [], "next": None})


@every_path
def test_a_database_that_is_away_is_as_described(away: str, path: str) -> None:
    status, body = ask(away, path, parameters(path))
    assert (status, body["reason"]) == (503, "DatabaseUnavailable")


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ('{"items":[{}]}', "application/json"),
        ('{"items":[]}', "text/plain"),
        ('{"items":[],"a":1}', "application/json"),
    ],
)
def test_an_answer_of_another_shape_would_be_noticed(body: str, media_type: str) -> None:
    app = Starlette(routes=[Route("/kanaries", lambda _: Response(body, media_type=media_type))])
    with (
        running(app) as server,
        pytest.raises((schemathesis.core.failures.FailureGroup, AssertionError)),
    ):
        ask(f"http://127.0.0.1:{server.port}", "/kanaries", {})


@every_path
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_answer_is_as_described(base: str, path: str, data: Any) -> None:
    mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
    case = data.draw(SCHEMA[path]["GET"].as_strategy(generation_mode=mode))
    response = case.call(base_url=base)
    # A schema cannot express which values are accepted: existing dates, valid values of `after`.
    lenient = [schemathesis.checks.positive_data_acceptance, schemathesis.checks.negative_data_rejection]
    case.validate_response(response, excluded_checks=lenient)
