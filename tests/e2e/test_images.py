"""The bills of materials that `make images` writes say what is in the images."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from kanary.version import VERSION
from tests.e2e.kind import ROOT

pytestmark = pytest.mark.cluster


def packages(image: str, kind: str) -> dict[str, str]:
    """Name and version of each package of an image, of a kind such as `pypi`."""
    made = json.loads((ROOT / "build" / "sbom" / f"{image}.cdx.json").read_text(encoding="utf-8"))
    return {each["name"]: each["version"] for each in made["components"] if each["purl"].startswith(f"pkg:{kind}/")}


def output(image: str, *command: str) -> str:
    program, *arguments = command
    run = ["docker", "run", "--rm", "--network", "none", "--entrypoint", program, f"{image}:{VERSION}", *arguments]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def test_the_proxies_have_the_haproxy_that_it_says() -> None:
    found = re.match(r"HAProxy version (\S+) ", output("kanary-haproxy", "haproxy", "-v"))
    assert found
    assert packages("kanary-haproxy", "deb")["haproxy"] == found[1]


def test_the_operator_has_the_pinned_dependencies_that_it_says() -> None:
    found = packages("kanary", "pypi")
    assert found["kanary"] == VERSION
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    assert {"kubernetes", "sqlalchemy", "transitions", "pydantic", "psycopg"} <= found.keys()
    assert {name: pins[name] for name in found.keys() & pins.keys()} == {
        name: version for name, version in found.items() if name in pins
    }
