"""Writes docs/reference/: the fields of a Kanary, from the CRD, and the commands, from the command line itself.

`make manifests` runs it; a test fails when a page is not what this module writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from engine.model.durations import DURATION
from engine.model.placement import QUANTITY
from engine.model.rollout import CLOCK
from engine.model.service import PORT_NAME
from engine.model.spec import DNS_LABEL
from kanary.cli.main import cli
from kanary.crd import crd

Json = dict[str, Any]

FOLDER = Path("docs/reference")
_WIDTH = 80
_MADE = "<!-- Made by python -m scripts.reference. -->"
_FORMS = {
    DNS_LABEL: "lower-case letters, digits and `-`, beginning with a letter",
    PORT_NAME: "lower-case letters, digits and `-`",
    QUANTITY: "a quantity such as `100m` or `64Mi`",
    DURATION: "a duration such as `30s`, `10m` or `1h30m`",
    CLOCK: "a time such as `09:00`",
}
"""What a value must look like, by the pattern that says so."""
_BOUNDS = (("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"))

_SPEC = f"""\
# The spec of a Kanary

{_MADE}

`kubectl explain kanary.spec` shows the same. Every field is checked by the API server, and by the operator.
`kanary lint` checks a file without a cluster.
"""
_STATUS = f"""\
# The status of a Kanary

{_MADE}

The operator writes it. `kubectl explain kanary.status` shows the same.
"""
_COMMANDS = f"""\
# The commands

{_MADE}

`kubectl kanary COMMAND` is the same as `kanary COMMAND`. [The command line](../command-line.md) explains the commands
with examples. `kanary COMMAND --help` prints what is below.
"""


def pages() -> Mapping[str, str]:
    """The text of every page, by its file name."""
    fields = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return {
        "spec.md": "\n".join([_SPEC, *_objects("spec", fields["spec"])]) + "\n",
        "status.md": "\n".join([_STATUS, *_objects("status", fields["status"])]) + "\n",
        "commands.md": "\n".join([_COMMANDS, *_commands(cli, "kanary")]),
    }


def _objects(path: str, schema: Json) -> Iterator[str]:
    """A table of the fields of an object, and then of each object in it."""
    properties, required = schema["properties"], schema.get("required", ())
    is_status = path.startswith("status")
    head = ("field", "type", "meaning") if is_status else ("field", "type", "default", "constraints", "meaning")
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for name, field in properties.items():
        default = "required" if name in required else _value(field["default"]) if "default" in field else ""
        limits = () if is_status else (default, _constraints(field))
        yield f"| `{name}` | {' | '.join((_type(field), *limits, _escaped(field.get('description', ''))))} |"
    if checks := [*_rules(schema)]:
        yield "\nFurther checks, by their messages:\n"
        yield from (f"- {message}" for message in checks)
    for name, field in properties.items():
        inner, place = _object_in(field, f"{path}.{name}")
        if inner:
            yield f"\n## `{place}`\n\n{_escaped(field.get('description', ''))}\n"
            yield from _objects(place, inner)


def _object_in(field: Json, path: str) -> tuple[Json | None, str]:
    """The object that a field has, or has several of, and how it is written; None if it is a plain value."""
    if "properties" in field:
        return field, path
    if field.get("type") == "array":
        return _object_in(field["items"], f"{path}[]")
    if isinstance(field.get("additionalProperties"), dict):
        return _object_in(field["additionalProperties"], f"{path}.NAME")
    return None, path


def _type(field: Json) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if field.get("format") == "date-time":
        return "time"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map to {_type(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def _constraints(field: Json) -> str:
    values = field.get("items", field) if field.get("type") == "array" else field
    return "; ".join([*_limits(field), *(_limits(values) if values is not field else ()), *_rules(field)])


def _limits(field: Json) -> Iterator[str]:
    if "enum" in field:
        yield ", ".join(f"`{each}`" for each in field["enum"])
    pattern = field.get("pattern")
    if pattern:
        default = "an `http` or `https` URL" if pattern.startswith("^https?:") else f"`{pattern}`"
        yield _FORMS.get(pattern, default)
    for low, high, unit in _BOUNDS:
        least, most = field.get(low), field.get(high)
        if least is not None and most is not None:
            yield f"{_number(least)} to {_number(most)}{unit}"
        elif most is not None:
            yield f"at most {_number(most)}{unit}"
        elif least is not None:
            yield f"at least {_number(least)}{unit}"


def _rules(field: Json) -> Iterator[str]:
    yield from (_escaped(rule["message"]) for rule in field.get("x-kubernetes-validations", ()))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _value(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, dict):
        return ", ".join(f"`{key}: {value}`" for key, value in default.items())
    if isinstance(default, list):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{default}`" if default != "" else ""


def _escaped(text: str) -> str:
    return text.replace("|", "&#124;").replace("{{", "`{{").replace("}}", "}}`").replace("<", "&lt;")


def _commands(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[str]:
    """The help of a command, and then of each command in it."""
    with click.Context(
        command, parent, path.rpartition(" ")[2], terminal_width=_WIDTH, help_option_names=["-h", "--help"]
    ) as context:
        yield f"## `{path}`\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                yield from _commands(command.commands[name], f"{path} {name}", context)


def main() -> None:
    """Write the pages into the folder below the present one."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
