"""The kind cluster that the end-to-end tests and the demo run on: made, given its images, removed.

``python -m tests.e2e.kind up NAME`` and ``down NAME`` do it from the command line; the tests do it by fixture.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_kind import cluster as pytest_kind  # type: ignore[import-untyped] # it ships no types

from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).parent / "cluster"

# What pytest-kind downloads where there is neither a program on PATH nor Debian: its own defaults are too old
# for a current node image. It reads the environment when it is imported, which pytest does before this.
pytest_kind.KIND_VERSION = os.environ.get("KIND_VERSION", "v0.27.0")
pytest_kind.KUBECTL_VERSION = os.environ.get("KUBECTL_VERSION", "v1.32.2")


def script(name: str) -> str | None:
    """Run one of the scripts in ``cluster/`` and return what it printed; None where that was nothing."""
    printed = subprocess.run([SCRIPTS / name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return printed or None


_HISTORY_FOLDER = "/var/lib/kanary-history"
_HISTORY_VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "kanary-history"},
    "spec": {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "standard",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": "kanary-system", "name": "kanary-history"},
        "hostPath": {"path": _HISTORY_FOLDER},
    },
}


class Cluster(pytest_kind.KindCluster):  # type: ignore[misc] # its base is untyped
    """A kind cluster whose kubeconfig is found from any directory, and made anew where it was lost."""

    def __init__(
        self, name: str, *, kind: str | None = None, kubectl: str | None = None, image: str | None = None
    ) -> None:
        kubeconfig = ROOT / ".pytest-kind" / name / "kubeconfig"
        kind, kubectl = kind or script("kind"), kubectl or script("kubectl")
        self.image: str | None
        super().__init__(name, kubeconfig, image, Path(kind) if kind else None, Path(kubectl) if kubectl else None)

    @property
    def node(self) -> str:
        """The name of the container that is the cluster's only node."""
        return f"{self.name}-control-plane"

    def client(self) -> Kubectl:
        """A kubectl that talks to this cluster."""
        self.ensure_kubectl()
        return Kubectl(str(self.kubectl_path), str(self.kubeconfig_path))

    def exists(self) -> bool:
        """Whether kind has a cluster of this name."""
        self.ensure_kind()
        # With no cluster at all, kind says so on standard error.
        names = subprocess.run([self.kind_path, "get", "clusters"], check=True, capture_output=True, text=True)
        return self.name in names.stdout.split()

    def answers(self) -> bool:
        """Whether the cluster is there and its API server answers."""
        if not self.exists():
            return False
        try:
            # pytest-kind expects the kubeconfig of an existing cluster in its former place.
            self._kind("export", "kubeconfig")
        except subprocess.CalledProcessError:
            return False
        self.ensure_kubectl()
        command = [
            self.kubectl_path,
            "--kubeconfig",
            self.kubeconfig_path,
            "--request-timeout=20s",
            "get",
            "--raw=/healthz",
        ]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0

    def up(self) -> None:
        """Make the cluster unless it runs already, wait for its node, and load the images."""
        images = (script("images") or "").split()
        if not self.answers():
            # A node that stopped with the Docker engine leaves a cluster that is there and does not answer.
            self.down()
            self.image = self.image or script("node-image")
        self.create()
        self._settle()
        self._make_volume()
        for image in images:
            self._load(image)

    @contextmanager
    def without_api_server(self) -> Iterator[None]:
        """Freeze the API server: its connections stay open, and it answers nothing. Pods and proxies go on."""
        is_it = '[ "$(cat $each/comm 2>/dev/null)" = kube-apiserver ]'
        find = f"for each in /proc/[0-9]*; do {is_it} && echo ${{each#/proc/}}; done; true"
        process = self._in_node("sh", "-c", find).strip()
        self._in_node("kill", "-STOP", process)
        try:
            yield
        finally:
            self._in_node("kill", "-CONT", process)

    def answers_from(self, address: str, port: int, connections: int) -> list[str]:
        """What a TCP server sends to each of these connections from the node, one after the other; "" for nothing."""
        connect = f"exec 3<>/dev/tcp/{address}/{port} && head -n 1 <&3"
        loop = f"for i in $(seq {connections}); do echo \"=$(timeout 5 bash -c '{connect}' 2>/dev/null)\"; done"
        return [line.removeprefix("=") for line in self._in_node("bash", "-c", loop).splitlines()]

    def down(self) -> None:
        """Remove the cluster and its kubeconfig, if they exist."""
        if self.exists():
            self.delete()
        self.kubeconfig_path.unlink(missing_ok=True)

    def _kind(self, *arguments: str) -> None:
        options = [f"--name={self.name}", f"--kubeconfig={self.kubeconfig_path}"]
        subprocess.run([self.kind_path, *arguments, *options], check=True)

    def _settle(self) -> None:
        kubectl = self.client()
        kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=180s", timeout=200)
        if not self._has_dns_image():
            kubectl("-n", "kube-system", "delete", "deployment", "coredns", "--ignore-not-found")
        # Pods can be made only once the controllers have made their account.
        account = ("-n", "default", "get", "serviceaccount", "default")
        wait_until(lambda: kubectl(*account), "the default service account")

    def _make_volume(self) -> None:
        """The volume of the operator's history. Not every kind's own can be written to by pods that are not root's."""
        self._in_node("install", "-d", "-m", "0777", _HISTORY_FOLDER)
        self.client().apply(_HISTORY_VOLUME)

    def _load(self, image: str) -> None:
        """Load an image unless the node has it. A node of a built image cannot list its images, so a file has them."""
        inspect = ["docker", "image", "inspect", "-f", "{{.Id}}", image]
        identity = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
        note = f"/kind/loaded-{image.replace(':', '-')}"
        if self._in_node("cat", note, check=False) == identity:
            return
        self.load_docker_image(image)
        self._in_node("sh", "-c", f"printf %s {identity} >{note}")

    def _in_node(self, *command: str, check: bool = True) -> str:
        arguments = ["docker", "exec", self.node, *command]
        return subprocess.run(arguments, check=check, capture_output=True, text=True).stdout

    def _has_dns_image(self) -> bool:
        return "coredns" in self._in_node("ctr", "-n", "k8s.io", "images", "ls", "-q")


@contextmanager
def stopwatch(doing: str) -> Iterator[None]:
    """Say what is begun and how long it took."""
    print(f"{doing} ...", flush=True)
    began = time.monotonic()
    yield
    print(f"{doing}: done in {time.monotonic() - began:.0f} s", flush=True)


def main(command: str, name: str) -> None:
    """Make (``up``) or remove (``down``) the cluster of that name."""
    cluster = Cluster(name)
    if command == "up":
        with stopwatch(f"making the kind cluster {name}"):
            cluster.up()
        print(f"use it: export KUBECONFIG={cluster.kubeconfig_path}")
    elif command == "down":
        with stopwatch(f"removing the kind cluster {name}"):
            cluster.down()
    else:
        sys.exit(f"unknown command {command!r}: use up or down")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tests.e2e.kind up|down NAME")
    main(*sys.argv[1:])
