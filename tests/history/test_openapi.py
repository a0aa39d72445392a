"""docs/history-api.yaml is what the server does: its paths, parameters, statuses and shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kanary.history.answers import Refusal
from kanary.history.operations import OPERATIONS
from kanary.history.problems import Reason

from kanary.history import openapi
from kanary.web.server import HttpServer
from tests.history.serving import ROOT, Client, record_shop, serving

WEB = {"namespace": "shop", "name": "web"}
DESCRIBED = yaml.safe_load((Path(__file__).parents[2] / openapi.PAGE).read_text())
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
PATHS = [path for path in DESCRIBED["paths"] if path != f"/{openapi.PATH}"]
LISTS = [path for path in PATHS if "limit" in str(DESCRIBED["paths"][path]["get"]["parameters"])]
TIME = "2026-11-23T13:35:00Z"

every_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose record has something of everything."""
    url = f"sqlite:///{tmp_path_factory.mktemp('openapi')}/history.db"
    record_shop(url)
    with serving(url) as server:
        yield f"http://127.0.0.1:{server.port}{ROOT.removesuffix('/')}"


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose database is not there."""
    with serving(f"sqlite:///{tmp_path_factory.mktemp('away')}/history.db") as server:
        yield f"http://127.0.0.1:{server.port}{ROOT.removesuffix('/')}"


def in_path(path: str, **other: object) -> dict[str, object]:
    known: dict[str, object] = {**WEB, "revision": 25, "hash": f"{25:016x}", **other}
    return {name: value for name, value in known.items() if f"{{{name}}}" in path}


def ask(base: str, path: str, values: Mapping[str, object], **query: object) -> Any:
    """The answer's status and body, once all of it is as described: status, type, headers, shape, and no field more."""
    case = SCHEMA[path]["GET"].Case(path_parameters=dict(values), query=query)
    response = case.call(base_url=base)
    case.validate_response(response, excluded_checks=[schemathesis.checks.not_a_server_error])
    body = response.json()
    name = "Error" if response.status_code != 200 else result_of(path)
    assert undescribed(body, DESCRIBED["components"]["schemas"][name]) == []
    return response.status_code, body


def result_of(path: str) -> str:
    schema = DESCRIBED["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return str(schema["$ref"]).rsplit("/", 1)[1]


def undescribed(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """The fields that the description does not have: its schemas allow more, so that it may grow."""
    if "$ref" in schema:
        schema = DESCRIBED["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list):
        return [name for item in value for name in undescribed(item, schema["items"])]
    if not isinstance(value, dict):
        return []
    schema = next((each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"), schema)
    if "$ref" in schema:
        return undescribed(value, schema)
    own = [name for name in value if name not in schema["properties"]]
    return own + [name for key in value.keys() - own for name in undescribed(value[key], schema["properties"][key])]


# The page


def test_the_page_is_what_the_operations_say() -> None:
    assert openapi.text() == (Path(__file__).parents[2] / openapi.PAGE).read_text(), "run: make manifests"


def test_the_page_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    assert openapi.main() == 0
    assert yaml.safe_load((tmp_path / openapi.PAGE).read_text()) == DESCRIBED


def test_the_server_tells_what_the_page_says(base: str) -> None:
    client = Client(int(base.split(":")[2].partition("/")[0]))
    assert client.get(openapi.PATH) == DESCRIBED == json.loads(openapi.encoded())


def test_everything_is_described() -> None:
    assert [f"/{operation.path}" for operation in OPERATIONS] == PATHS
    for path, item in DESCRIBED["paths"].items():
        assert item.keys() == {"get"}
        assert item["get"]["summary"], path
    names = [item["get"]["operationId"] for item in DESCRIBED["paths"].values()]
    assert len(set(names)) == len(names)
    assert all(parameter["description"] for parameter in DESCRIBED["components"]["parameters"].values())
    assert all(schema["description"] for name, schema in DESCRIBED["components"]["schemas"].items() if name != "Error")


def test_every_refusal_is_named() -> None:
    told = str(DESCRIBED["components"]["responses"])
    left_out = {reason for reason in Refusal if f"`{reason}`" not in told}
    assert left_out == {Refusal.UNKNOWN_PATH}
    assert f"`{Reason.UNAVAILABLE}`" in told


# The server


@every_path
def test_what_there_is_is_as_described(base: str, path: str) -> None:
    status, body = ask(base, path, in_path(path))
    assert status == 200
    assert body.get("items", [1]) != []


@pytest.mark.parametrize("path", LISTS)
def test_a_page_with_every_parameter_is_as_described(base: str, path: str) -> None:
    has_time = "since" in str(DESCRIBED["paths"][path]["get"]["parameters"])
    span = {"since": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00+00:00"} if has_time else {}
    status, body = ask(base, path, in_path(path), deleted="true", limit=1, **span)
    assert (status, len(body["items"])) == (200, 1)
    assert body["next"] is not None
    assert ask(base, path, in_path(path), deleted="true", limit=1, after=body["next"], **span)[0] == 200


@pytest.mark.parametrize("path", [path for path in PATHS if path.endswith("changes")])
def test_what_was_in_force_is_as_described(base: str, path: str) -> None:
    assert ask(base, path, in_path(path), at=TIME)[0] == 200


@pytest.mark.parametrize("path", [path for path in PATHS if "revisions" in path])
def test_a_revision_by_uid_is_as_described(base: str, path: str) -> None:
    values = in_path(path, revision=2)
    assert ask(base, path, values, uid="u-0", deleted="true")[0] == 200


@every_path
def test_a_bad_request_is_as_described(base: str, path: str) -> None:
    status, body = ask(base, path, in_path(path), colour="red")
    assert (status, body["reason"]) == (400, "BadParameter")


@every_path
def test_what_there_is_not_is_as_described(base: str, path: str) -> None:
    nothing = {"namespace": "shop", "name": "nothing", "hash": "beef"}
    status, body = ask(base, path, in_path(path, **nothing))
    assert (status == 404) == ("404" in DESCRIBED["paths"][path]["get"]["responses"])
    assert (status, body.get("reason", "")[:7]) in ((404, "Unknown"), (200, ""))


@every_path
def test_a_database_that_is_away_is_as_described(away: str, path: str) -> None:
    status, body = ask(away, path, in_path(path))
    assert (status, body["reason"]) == (503, "DatabaseUnavailable")


def test_an_answer_of_another_shape_would_be_noticed() -> None:
    answers = iter(
        (
            (200, "application/json", b'{"next":null,"items":[{}]}'),
            (200, "text/plain", b'{"next":null,"items":[]}'),
            (202, "application/json", b'{"next":null,"items":[]}'),
            (200, "application/json", b'{"next":null,"items":[],"more":1}'),
        )
    )
    server = HttpServer(0, {"/kanaries": lambda: next(answers)}, "127.0.0.1")
    server.start()
    try:
        for _ in range(3):
            with pytest.raises(schemathesis.core.failures.FailureGroup):
                ask(f"http://127.0.0.1:{server.port}", "/kanaries", {})
        with pytest.raises(AssertionError):
            ask(f"http://127.0.0.1:{server.port}", "/kanaries", {})
    finally:
        server.stop()


@every_path
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_fits_the_description_is_accepted(base: str, path: str, data: Any) -> None:
    case = data.draw(SCHEMA[path]["GET"].as_strategy())
    response = case.call(base_url=base)
    case.validate_response(response, excluded_checks=[schemathesis.checks.positive_data_acceptance])
    if response.status_code == 400:
        # More than a schema can say: that a text is a place to read on from, which years there are, what excludes what.
        error = response.json()
        beyond = ("BadCursor", "no history of that year", "at is one time")
        assert any(words in error.values() or words in error["message"] for words in beyond), error


@every_path
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_does_not_fit_is_refused_as_described(base: str, path: str, data: Any) -> None:
    mode = schemathesis.GenerationMode.NEGATIVE
    case = data.draw(SCHEMA[path]["GET"].as_strategy(generation_mode=mode))
    response = case.call(base_url=base)
    case.validate_response(response)
