"""Runs the commands of a README, as a reader would."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.e2e.kind import ROOT
from tests.e2e.kubectl import Kubectl
from tests.e2e.traffic import Count

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS_PER_BLOCK = 240
# A node may need a second to learn about new proxies, which is longer than a count takes.
TRIES = 5

Expectation = Callable[[Count], bool]


class Reader:
    """Runs a README's blocks in one namespace; ``folder`` holds its kubeconfig and its PATH."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self.environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig")}
        self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        (folder / "kubectl").symlink_to(Path(shutil.which(kubectl.program) or kubectl.program).absolute())
        shutil.copy(kubectl.kubeconfig, folder / "kubeconfig")
        self.run(f"kubectl config set-context --current --namespace={kubectl.namespace}")

    def run(self, commands: str) -> str:
        """Run a block and return what it printed. Raises AssertionError with that where a command fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_PER_BLOCK,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def follow(self, readme: Path, *expected: Expectation) -> list[str]:
        """Run every block of a README, in order, and return what each printed.

        ``expected`` has a check for each count that the blocks print.
        """
        outputs, left = [], list(expected)
        for block in BLOCK.findall(readme.read_text()):
            printed = self._run_until(block, left)
            del left[: len(counts(printed))]
            outputs.append(printed)
        assert not left, f"{len(left)} more counts were expected of {readme}"
        return outputs

    def _run_until(self, block: str, expected: list[Expectation]) -> str:
        for _ in range(TRIES):
            printed = self.run(block)
            counted = counts(printed)
            if all(is_as_said(count) for is_as_said, count in zip(expected, counted, strict=False)):
                return printed
        raise AssertionError(f"not as the README says, {TRIES} times:\n{block}\n{printed}")


def counts(printed: str) -> list[Count]:
    """What the counting clients among the commands printed."""
    return [Count(**json.loads(line)) for line in printed.splitlines() if line.startswith("{")]
