"""kubectl, as the tests call it."""

import dataclasses
import json
import os
import re
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


class KubectlError(AssertionError):
    """kubectl failed; the message is its output."""


@dataclasses.dataclass(frozen=True)
class Kubectl:
    """kubectl on one cluster, and in one namespace where that is given."""

    program: str
    kubeconfig: str
    namespace: str | None = None

    def within(self, namespace: str) -> "Kubectl":
        """The same in ``namespace``."""
        return dataclasses.replace(self, namespace=namespace)

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        scope = [f"--namespace={self.namespace}"] if self.namespace else []
        return [self.program, f"--kubeconfig={self.kubeconfig}", *scope, *arguments]

    def __call__(self, *arguments: str, given: str | None = None, timeout: float = 120) -> str:
        """Run kubectl, with ``given`` on standard input, and return what it printed. Raises KubectlError."""
        done = subprocess.run(
            self.command(*arguments), input=given, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start kubectl and leave it running."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*arguments), stdout=pipe, stderr=pipe, text=True)

    def get(self, *arguments: str) -> Any:
        """``kubectl get`` as data."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def find(self, *arguments: str) -> Any | None:
        """Like ``get`` for one object, and None where it does not exist."""
        printed = self("get", *arguments, "-o", "json", "--ignore-not-found")
        return json.loads(printed) if printed.strip() else None

    def apply(self, *manifests: Manifest) -> str:
        """Apply the given objects, in the given order."""
        return self("apply", "-f", "-", given=yaml.safe_dump_all(manifests))

    def apply_file(self, path: Path) -> str:
        """Apply a file, in a form that clusters older than this kubectl take as well."""
        return self("apply", *self._leniency(), "-f", str(path))

    def _leniency(self) -> list[str]:
        # Clusters before 1.28 lack fields of the CRD's rules, and kubectl would reject the file.
        return ["--validate=false"] if self.server_minor < 28 else []

    @cached_property
    def server_minor(self) -> int:
        """The minor version of the cluster's Kubernetes: 20 for v1.20.2."""
        version = json.loads(self("version", "-o", "json"))["serverVersion"]
        return int(re.sub(r"\D", "", version["minor"]))


def environment(kubectl: Kubectl) -> dict[str, str]:
    """This process's environment, with the cluster as the default one."""
    return {**os.environ, "KUBECONFIG": kubectl.kubeconfig}
