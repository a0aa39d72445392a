"""The rules of the code: which layer may import which, what is pure, and how large a module may be."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("states", "engine", "kanary")
"""From the innermost to the outermost: each may import itself and those before it."""
PACKAGES = (*LAYERS, "migrations")
"""And one that only `kanary` imports, which imports none of them."""
ONE_IMPORTER = {
    "alembic": "kanary.history.schema",
    "cryptography": "kanary.operator.signing",
    "h11": "kanary.outbound.exchange",
    "kubernetes": "kanary.kube",
    "prometheus_client": "kanary.operator.metrics",
    "rich": "kanary.cli",
    "pydantic_settings": "kanary.operator.settings",
    "sqlalchemy": "kanary.history",
    "jinja2": "kanary.dashboard.pages",
    "markupsafe": "kanary.dashboard",
    "starlette": ("kanary.web", "kanary.dashboard"),
    "transitions": "engine.machine",
    "uvicorn": "kanary.web.server",
    "urllib3": "kanary.kube.http",
    "websocket": "kanary.kube.forward",
}
"""The modules, or the packages, that are alone in importing a library; the migrations aside, which are in its terms."""
PROJECTS = {"pydantic_core": "pydantic", "websocket": "websocket_client", "yaml": "pyyaml"}
"""Under which name a library is declared, where that is not the one that it is imported by."""
UNIMPORTED = {"psycopg", "tzdata"}
"""Libraries that a name in a URL selects, or that another one reads."""
LIBRARIES = {"states": set[str](), "engine": {"pydantic", "pydantic_core", "transitions"}}
PURE = {
    "__future__",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "string",
    "json",
    "math",
    "re",
    "textwrap",
    "typing",
    "zlib",
    "zoneinfo",
}
"""What of the standard library does no input or output; that `datetime` is not asked for the time is seen below."""
MAX_LINES = 350


@cache
def paths() -> dict[str, Path]:
    """The file of each module of the product, by the module's name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            *folders, name = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(folders if name == "__init__" else [*folders, name])] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(paths()[module].read_text())


@cache
def imports(module: str) -> frozenset[str]:
    """The name of each module that is imported, wherever in the file, and be it for types only."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                # `from kanary import crd` imports a module, `from kanary.kube.client import ClusterClient` a name.
                full = f"{node.module}.{alias.name}"
                found.add(full if full in paths() else str(node.module))
    return frozenset(found)


def tops(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def layer_of(module: str) -> str:
    return module.partition(".")[0]


ROOMS = {
    "kanary.kube": {"kanary.kube"},
    "kanary.history": {"kanary.history", "kanary.kube"},
    "kanary.web": {"kanary.web", "kanary.history"},
    "kanary.outbound": {"kanary.outbound", "kanary.kube", "kanary"},
    "kanary.operator": {"kanary.operator", "kanary.outbound", "kanary.history", "kanary.web", "kanary.kube", "kanary"},
    "kanary.dashboard": {
        "kanary.dashboard",
        "kanary.cli",
        "kanary.history",
        "kanary.web",
        "kanary.kube",
        "kanary",
    },
    "kanary.cli": {
        "kanary.cli",
        "kanary.dashboard",
        "kanary.operator",
        "kanary.outbound",
        "kanary.history",
        "kanary.web",
        "kanary.kube",
        "kanary",
    },
}
"""The rooms of `kanary`, and which of them each may import; those of no room are read by all that name `kanary`."""


def room_of(module: str) -> str:
    room = ".".join(module.split(".")[:2])
    return room if room in ROOMS else layer_of(module)


every_module = pytest.mark.parametrize("module", paths())
every_pure_module = pytest.mark.parametrize("module", [name for name in paths() if layer_of(name) in LIBRARIES])


def test_the_modules_are_found() -> None:
    assert {"states.rules", "engine.machine", "engine", "kanary.kube.client"} <= paths().keys()
    assert {"transitions", "threading", "states"} <= imports("engine.machine")
    assert "kanary.operator.transforms" in imports("kanary.operator.watches")
    assert "kanary.cli.lookup" in imports("kanary.cli.render")


# Layers


@pytest.mark.parametrize("module", [name for name in paths() if layer_of(name) in LAYERS])
def test_imports_point_inwards(module: str) -> None:
    allowed = LAYERS[: LAYERS.index(layer_of(module)) + 1]
    assert tops(module) & set(LAYERS) <= set(allowed)


@pytest.mark.parametrize("module", [name for name in paths() if room_of(name) in ROOMS])
def test_a_room_imports_only_the_rooms_that_it_may(module: str) -> None:
    found = {room_of(name) for name in imports(module) if layer_of(name) == "kanary"}
    assert found <= ROOMS[room_of(module)]


def test_the_client_for_kubernetes_knows_nothing_of_kanary() -> None:
    modules = [module for module in paths() if room_of(module) == "kanary.kube"]
    assert modules
    assert {top for module in modules for top in tops(module)} & {"states", "engine", "migrations"} == set()


@every_module
def test_the_product_imports_nothing_that_only_stands_beside_it(module: str) -> None:
    beside = {path.name for path in ROOT.iterdir() if path.is_dir()} - set(PACKAGES)
    assert tops(module) & beside == set()


def test_migrations_stand_alone_and_only_the_history_imports_them() -> None:
    """They are run years later, on what is written now: nothing that they do may change with the product."""
    own = [module for module in paths() if layer_of(module) == "migrations"]
    assert {top for module in own for top in tops(module)} <= {"alembic", "migrations", "sqlalchemy"}
    users = {module for module in paths() if "migrations" in tops(module)} - set(own)
    assert {module.rpartition(".")[0] for module in users} == {"kanary.history"}


@pytest.mark.parametrize(("library", "importer"), ONE_IMPORTER.items())
def test_each_library_has_one_importer(library: str, importer: str | tuple[str, ...]) -> None:
    users = [name for name in paths() if library in tops(name) and layer_of(name) != "migrations"]
    assert users
    importers = (importer,) if isinstance(importer, str) else importer
    assert [name for name in users if not any(f"{name}.".startswith(f"{each}.") for each in importers)] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: imports(module) & paths().keys() for module in paths()}
    while leaves := {module for module, wanted in graph.items() if not wanted}:
        graph = {module: wanted - leaves for module, wanted in graph.items() if module not in leaves}
    assert graph == {}


@every_pure_module
def test_states_and_engine_import_only_what_is_pure(module: str) -> None:
    lock = {"threading"} if module == "engine.machine" else set()
    assert tops(module) - set(LAYERS) <= PURE | LIBRARIES[layer_of(module)] | lock


@every_pure_module
def test_states_and_engine_do_no_input_or_output_and_are_told_the_time(module: str) -> None:
    called = {ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)}
    forbidden = {"open", "print", "input", "exec", "eval", "__import__"}
    forbidden |= {f"{name}.{clock}" for name in ("datetime", "date") for clock in ("now", "utcnow", "today")}
    assert called & forbidden == set()


def test_states_import_nothing_but_the_standard_library() -> None:
    imported = {top for module in paths() if layer_of(module) == "states" for top in tops(module)}
    assert imported - {"states"} <= sys.stdlib_module_names


# Sizes and style


@every_module
def test_no_module_is_too_long_to_be_read(module: str) -> None:
    assert len(paths()[module].read_text().splitlines()) <= MAX_LINES


def test_a_public_class_name_means_one_thing() -> None:
    named = [node.name for module in paths() for node in tree(module).body if isinstance(node, ast.ClassDef)]
    public = [name for name in named if not name.startswith("_")]
    assert sorted(name for name in set(public) if public.count(name) > 1) == []


@every_module
def test_every_exception_from_a_lint_rule_has_its_reason_beside_it(module: str) -> None:
    exceptions = re.findall(r"# (?:ruff: )?(?:noqa|type: ignore).*", paths()[module].read_text())
    reasoned = re.compile(
        r"# (?:ruff: )?noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)* +(?:-- )?\w.{5,}"
        r"|# type: ignore\[[\w-]+\] +# \w.{5,}"
    )
    assert [text for text in exceptions if not reasoned.fullmatch(text)] == []


@every_module
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree(module))


# Packaging


@cache
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_holds_exactly_the_layers() -> None:
    setuptools = project()["tool"]["setuptools"]
    assert set(setuptools["packages"]) == {".".join(p.relative_to(ROOT).parent.parts) for p in paths().values()}
    assert set(setuptools["package-data"]) == set(PACKAGES)
    assert [package for package in PACKAGES if not (ROOT / package / "py.typed").exists()] == []


def test_every_library_that_is_imported_is_declared() -> None:
    imported = {top for module in paths() for top in tops(module)} - sys.stdlib_module_names - set(PACKAGES)
    declared = {re.split(r"[\[<>=]", text)[0].replace("-", "_") for text in project()["project"]["dependencies"]}
    assert {PROJECTS.get(name, name) for name in imported} == declared - UNIMPORTED
    assert declared > UNIMPORTED


def test_no_folder_of_tests_has_the_name_of_a_layer() -> None:
    """It would be imported in its place."""
    assert [package for package in PACKAGES if (ROOT / "tests" / package).exists()] == []
