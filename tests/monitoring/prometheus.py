"""Prometheus's programs, for the tests."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "prometheus"
MISSING = 3


@cache
def _folder() -> Path | None:
    tool = subprocess.run([TOOL], stdout=subprocess.PIPE, text=True, check=False)
    if tool.returncode == MISSING:
        return None
    assert tool.returncode == 0, "Prometheus could not be unpacked: see above"
    return Path(tool.stdout.strip())


def program(name: str) -> Path:
    """The path of a program; skips the test if there is none and the tests may not unpack it."""
    folder = _folder()
    if folder is None:
        pytest.skip("there is no Prometheus here, and only on Debian, as root, do the tests unpack it")
    return folder / name


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """What promtool prints; fails if it finds a problem."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
