"""helm and kubectl, for the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
CHART = MANIFESTS / "chart"

TOOL = ROOT / "tests" / "tools" / "helm"
MISSING = 3


class Loader(yaml.SafeLoader):
    """Reads 1e-09 as a number, as Go does; YAML 1.1 has no such floats."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[0-9]+e-[0-9]+$"), list("0123456789"))


@cache
def _folder() -> Path | None:
    environment = {**os.environ, "PYTHON": sys.executable}
    tool = subprocess.run([TOOL], stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if tool.returncode == MISSING:
        return None
    assert tool.returncode == 0, "helm could not be unpacked: see above"
    return Path(tool.stdout.strip())


def run(program: str, *arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """helm or kubectl; skips the test if there is none and the tests may not unpack it."""
    folder = _folder()
    if folder is None:
        pytest.skip("there is no helm here, and only on Linux on x86-64 do the tests unpack it")
    return subprocess.run([folder / program, *arguments], input=text, capture_output=True, text=True, check=False)


def template(*options: str, namespace: str = "kanary-system", values: Json | None = None) -> list[Json]:
    """The objects that Helm makes of the chart with these values."""
    done = rendering(*options, namespace=namespace, values=values)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def rendering(*options: str, namespace: str = "kanary-system", values: Json | None = None) -> Any:
    """`helm template`, ended."""
    given = yaml.safe_dump(values or {})
    return run("helm", "template", "kanary", CHART, "--namespace", namespace, "--values", "-", *options, text=given)


def kustomized(folder: Path) -> list[Json]:
    """The objects that kustomize makes of a folder."""
    done = run("kubectl", "kustomize", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return objects(done.stdout)


def objects(text: str) -> list[Json]:
    """The objects of some YAML."""
    return [each for each in yaml.load_all(text, Loader) if each]


def in_file(path: str) -> list[Json]:
    """The objects of a file of `manifests/`."""
    return objects((MANIFESTS / path).read_text(encoding="utf-8"))


def by_name(found: list[Json]) -> dict[tuple[str, str], Json]:
    """The objects by kind and name; no two are the same."""
    named = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(named) == len(found)
    return named


def operator_of(found: list[Json]) -> Json:
    """The pod template of the operator."""
    spec: Json = by_name(found)["Deployment", "kanary"]["spec"]["template"]["spec"]
    return spec


def environment_of(found: list[Json]) -> dict[str, Json]:
    """The environment of the operator, by name."""
    (container,) = operator_of(found)["containers"]
    return {each["name"]: each for each in container["env"]}
