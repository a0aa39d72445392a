"""docs/reference/ agrees with the CRD and the command line, and docs/operations.md with the rights of the operator."""

import re
from pathlib import Path

import click
import pytest
import yaml

from kanary.cli.main import cli
from kanary.crd import crd
from scripts import reference
from tests.cli.test_completion import leaves

ROOT = Path(__file__).parents[2]
RIGHTS = ROOT / "manifests" / "base" / "rbac.yaml"
PAGES = reference.pages()
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name: str) -> None:
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name], "run: python -m scripts.reference"


def fields(schema: dict, path: str) -> list[str]:
    """Every field that is not an object, with the objects that it is in."""
    found = []
    for name, field in schema.get("properties", {}).items():
        inner = field.get("items", field)
        found += fields(inner, f"{path}.{name}{'[]' if inner is not field else ''}") or [f"{path}.{name}"]
    return found


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_in_the_table_of_its_object(part: str) -> None:
    page = PAGES[f"{part}.md"]
    sections = {head.partition("`\n")[0]: head for head in page.split("\n## `")}
    for field in fields(SCHEMA[part], part):
        path, _, name = field.rpartition(".")
        section = page.partition("\n## ")[0] if path == part else sections[path]
        assert f"\n| `{name}` | " in section, field


def test_every_option_of_every_command_is_listed() -> None:
    for path, command in leaves(cli):
        section = PAGES["commands.md"].partition(f"## `kanary {' '.join(path)}`\n")[2].partition("\n## ")[0]
        with click.Context(command) as context:
            options = [name for each in command.get_params(context) for name in each.opts if name.startswith("--")]
        assert [option for option in options if option not in section] == [], path


def test_the_guide_to_the_command_line_begins_with_every_command() -> None:
    table = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert [name for name in cli.commands if f"`{name}`" not in table] == []


def test_the_operations_guide_lists_every_right_of_the_operator() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    listed = page.partition("### Rights of the operator")[2].partition("\n### ")[0]
    rows = [row.split("|")[1:3] for row in listed.splitlines() if row.startswith("|")]
    roles = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(RIGHTS.read_text())}
    for rule in [*roles["ClusterRole", "kanary"]["rules"], *roles["Role", "kanary-leader"]["rules"]]:
        for resource in rule["resources"]:
            verbs = next((verbs for names, verbs in rows if re.search(rf"\b{resource}(?![\w/])", names)), "")
            assert [verb for verb in rule["verbs"] if verb not in verbs] == [], resource
