"""The OpenAPI description of the history's API, made from the operations that the server knows.

`python -m kanary.history.openapi` writes it into `docs/`; a test fails when it is not what this module writes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from kanary.history import wire
from kanary.history.operations import OPERATIONS, ROOT, Operation
from kanary.history.parameters import IN_PATH, Parameter

Json = dict[str, Any]

PATH = "openapi.json"
PAGE = "docs/history-api.yaml"

_ABOUT = """\
What Kanary has recorded: every weight change and every change of phase. Read-only: GET and HEAD.

The operator serves it on its HTTP port. From outside the cluster it is read through the API server's service proxy, by
those whom the ClusterRole `kanary-viewer` is bound to:

    kubectl get --raw /api/v1/namespaces/kanary-system/services/kanary:http/proxy/history/v1/kanaries

Pages: where `next` is not null there is more. Ask for the same again with it as `after`; what is recorded meanwhile
shifts nothing. Fields may be added to answers, so ignore those that you do not know.
"""
_FAILURES = {
    "400": ("BadRequest", "A parameter that is none, or a value that it does not take (`BadParameter`, `BadCursor`)."),
    "404": (
        "Missing",
        "The record has nothing of what is named (`UnknownKanary`, `UnknownRevision`, `UnknownConfiguration`).",
    ),
    "503": (
        "Unavailable",
        "The record cannot be read now: the reason is that of the database, such as `DatabaseUnavailable`; or too many "
        "are reading it at once (`Busy`).",
    ),
}


def description() -> Json:
    """The description, as plain data."""
    shapes: list[type[wire.Shape]] = [*dict.fromkeys(operation.shape for operation in OPERATIONS), wire.Error]
    _, schemas = models_json_schema(
        [(shape, "serialization") for shape in shapes], ref_template="#/components/schemas/{model}"
    )
    own = {"operationId": "getDescription", "summary": "This description", "responses": {"200": _described()}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Kanary's history", "version": "1", "description": _ABOUT},
        "servers": [{"url": ROOT.removesuffix("/")}],
        "paths": {f"/{PATH}": {"get": own}}
        | {f"/{operation.path}": {"get": _operation(operation)} for operation in OPERATIONS},
        "components": {
            "parameters": _parameters(),
            "responses": {name: _response(about, wire.Error) for name, about in _FAILURES.values()},
            "schemas": _untitled(schemas["$defs"]),
        },
    }


@cache
def encoded() -> bytes:
    """The description, as the server answers it."""
    return json.dumps(description()).encode()


def text() -> str:
    """The description, as `docs/` has it."""
    head = "# Made by `make manifests` from the operations in kanary/history/operations.py.\n"
    return head + yaml.dump(description(), Dumper=_Dumper, sort_keys=False, width=120)


def main() -> int:
    """Write the page."""
    Path(PAGE).write_text(text(), encoding="utf-8")
    return 0


class _Dumper(yaml.SafeDumper):
    """Writes what stands in several places as often, and texts of several lines as they read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- the signature is given
        """No anchors."""
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_text)


def _operation(operation: Operation) -> Json:
    failures = [status for status in _FAILURES if operation.missing or status != "404"]
    return {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": [_reference("parameters", p.name) for p in (*operation.in_path, *operation.query)],
        "responses": {"200": _response(operation.shape.__doc__ or "", operation.shape)}
        | {status: _reference("responses", _FAILURES[status][0]) for status in failures},
    }


def _parameters() -> Json:
    in_path = {parameter.name: _parameter(parameter, "path") for parameter in IN_PATH.values()}
    query = {
        parameter.name: _parameter(parameter, "query") for operation in OPERATIONS for parameter in operation.query
    }
    return in_path | query


def _parameter(parameter: Parameter[Any], where: str) -> Json:
    schema = dict(parameter.schema)
    if parameter.default is not None:
        schema["default"] = parameter.default
    required = {"required": True} if where == "path" else {}
    return {"name": parameter.name, "in": where, **required, "description": parameter.description, "schema": schema}


def _reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _response(about: str, shape: type[wire.Shape]) -> Json:
    return {
        "description": about,
        "content": {"application/json": {"schema": _reference("schemas", shape.__name__)}},
    }


def _described() -> Json:
    schema = {"type": "object", "required": ["openapi"]}
    return {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": schema}}}


def _untitled(node: Any) -> Any:
    """Without the titles that pydantic makes of names: they say nothing more."""
    if isinstance(node, Mapping):
        return {key: _untitled(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    return [_untitled(value) for value in node] if isinstance(node, list) else node


if __name__ == "__main__":
    sys.exit(main())
