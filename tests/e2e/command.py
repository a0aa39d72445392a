"""The command line, with the kubeconfig of the tests' cluster."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.kubectl import environment
from tests.e2e.scene import Scene

KANARY = Path(sys.executable).with_name("kanary")


def run(scene: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [KANARY, *arguments, "-n", scene.namespace]
    return subprocess.run(
        command, env=environment(scene.cluster), capture_output=True, text=True, timeout=120, check=False
    )


def output(scene: Scene, *arguments: str) -> str:
    done = run(scene, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout
