"""The tutorial's commands print what it shows."""

import sys
from pathlib import Path

import pytest

from tests.e2e.console import Console, commands
from tests.e2e.kind import ROOT
from tests.e2e.readme import Reader
from tests.e2e.scene import Scene

PAGE = ROOT / "docs" / "tutorial.md"


@pytest.mark.cluster
def test_every_command_prints_what_the_tutorial_shows(scene: Scene, tmp_path: Path) -> None:
    environment = Reader(scene.kubectl, tmp_path).environment
    console = Console(environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"})
    for command in commands(PAGE.read_text(encoding="utf-8")):
        console.run(command)
