"""The house's rules for the agent, which is no part of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent import live
from tests.agent.live import AGENT
from tests.test_architecture import MAX_LINES

MODULES = sorted(AGENT.rglob("*.py"))

# Each takes more memory than it is worth to a process that stands beside every proxy.
HEAVY = {"asyncio", "concurrent", "dataclasses", "http", "inspect", "logging", "pathlib", "subprocess", "threading"}

SHARED = {"states"} & {path.parts[0] for path in live.SHARED}
"""The package of the operator of which the image has a module."""

every_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)


def imported(*arguments: str) -> set[str]:
    """What is loaded in an interpreter that is started as the agent is."""
    code = f"import sys; sys.path.insert(0, {str(AGENT)!r}); {'; '.join(arguments)}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_agent_loads_nothing_that_is_heavy() -> None:
    assert imported("import kanary_agent.run") & HEAVY == set()
    assert imported("import http.server") & HEAVY != set()


@every_module
def test_a_module_imports_the_standard_library_and_the_agent_alone(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - SHARED <= sys.stdlib_module_names | {"kanary_agent"}


@every_module
def test_a_module_has_a_docstring_and_at_most_so_many_lines(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))
    assert len(module.read_text().splitlines()) <= MAX_LINES
