"""Writes the OpenAPI description of the history's API, `docs/history-api.yaml`, from the operations of the server.

`make manifests` runs it; a test fails when the description is not what this module writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.model.shape import Shape
from kanary.history.wire import ROOT, Refused
from kanary.web.history import OPERATIONS

Json = dict[str, Any]

PAGE = "docs/history-api.yaml"

_ABOUT = """\
What happened to each Kanary: changes of weights, changes of phase. Read-only.

The operator serves it on its loopback interface. To read it, forward the port with the rights of the Role
`kanary-viewer`:

    kubectl -n kanary-system port-forward deployment/kanary 8081
    curl http://localhost:8081/history/v1/changes

Pages: if `next` is not null, there are more items, even if the page is empty. Repeat the request with its value as
`after`; entries that are recorded meanwhile do not shift the pages. If nothing matches, the page is empty. Ignore
unknown fields and kinds of entries: later versions add some.
"""
_REFUSED = """\
`BadParameter` (400), `UnknownPath` (404), or the reason why the record cannot be read, such as `DatabaseUnavailable`
(503).
"""


def description() -> Json:
    """The description, as plain data."""
    shapes: dict[type[Shape], None] = dict.fromkeys([*(shape for _, shape in OPERATIONS.values()), Refused])
    _, schemas = models_json_schema(
        [(shape, "serialization") for shape in shapes], ref_template="#/components/schemas/{model}"
    )
    refused = {"description": _REFUSED, **_json("Refused")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Kanary's history", "version": "1", "description": _ABOUT},
        "servers": [{"url": f"http://localhost:8081{ROOT}"}],
        "paths": {f"/{path}": {"get": _operation(path, *operation)} for path, operation in OPERATIONS.items()},
        "components": {"responses": {"Refused": refused}, "schemas": _untitled(schemas["$defs"])},
    }


def text() -> str:
    """The description, as `docs/` has it."""
    head = "# Made by `make manifests` from the operations in kanary/web/history.py.\n"
    # Read back, so that nothing in it is the same object twice, for which YAML would have anchors.
    return head + yaml.dump(json.loads(json.dumps(description())), Dumper=_Dumper, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they read."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _operation(path: str, query: type[BaseModel], shape: type[Shape]) -> Json:
    summary = (query.__doc__ or "").removesuffix(".")
    return {
        "operationId": path,
        "summary": summary,
        "parameters": _parameters(query),
        "responses": {
            "200": {"description": summary, **_json(_name(shape))},
            "default": {"$ref": "#/components/responses/Refused"},
        },
    }


def _parameters(query: type[BaseModel]) -> list[Json]:
    schema = _untitled(query.model_json_schema())
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": own.pop("description"),
            "schema": _given(own),
        }
        for name, own in schema["properties"].items()
    ]


def _given(schema: Json) -> Json:
    """The schema of a value that is given: in a query there is no null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    return options[0] if options else schema


def _name(shape: type[Shape]) -> str:
    return shape.__name__.replace("[", "_").replace("]", "_")


def _json(schema: str) -> Json:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _untitled(node: Any) -> Any:
    """Without the titles that pydantic makes of names: they say nothing more."""
    if isinstance(node, dict):
        return {key: _untitled(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    return [_untitled(value) for value in node] if isinstance(node, list) else node


if __name__ == "__main__":
    Path(PAGE).write_text(text(), encoding="utf-8")
