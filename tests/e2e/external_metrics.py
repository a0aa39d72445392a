"""A metric that a test sets and a HorizontalPodAutoscaler reads: an API server of external metrics, in one pod."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.kubectl import Kubectl, Manifest
from tests.e2e.stacks import ECHO_IMAGE

METRIC = "connections"
_NAME = "external-metrics"
_GROUP = "external.metrics.k8s.io"
_FILES = "/files"
_VALUE = "/tmp/value"
_RBAC = "rbac.authorization.k8s.io"
_READER = {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}


class Metric:
    """The metric's value."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def set(self, value: int) -> None:
        self._kubectl("exec", _NAME, "--", "sh", "-c", f"echo -n {value} > {_VALUE}.new && mv {_VALUE}.new {_VALUE}")


@contextmanager
def served(kubectl: Kubectl) -> Iterator[Metric]:
    """Serves the metric from the namespace of this kubectl; it is 0 at first."""
    kubectl.apply(*_objects(str(kubectl.namespace)))
    try:
        kubectl("wait", "--for=condition=Ready", f"pod/{_NAME}", "--timeout=120s", timeout=130)
        # After a failed attempt to reach it, the API server waits for up to 30 s, again and again.
        available = "--for=condition=Available", f"apiservice/v1beta1.{_GROUP}", "--timeout=240s"
        kubectl("wait", *available, timeout=250)
        yield Metric(kubectl)
    finally:
        # Before its pod goes: no namespace can be deleted while a group of the API does not answer.
        kubectl("delete", "apiservice", f"v1beta1.{_GROUP}")


def _objects(namespace: str) -> list[Manifest]:
    labels = {"app": _NAME}
    mount, volume = {"name": "files", "mountPath": _FILES}, {"name": "files", "secret": {"secretName": _NAME}}
    container = {
        "name": "server",
        "image": ECHO_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", f"{_FILES}/server.py", _GROUP, METRIC, _VALUE, f"{_FILES}/tls.crt", f"{_FILES}/tls.key"],
        "volumeMounts": [mount],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    service = {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]}
    api = {
        "group": _GROUP,
        "version": "v1beta1",
        "service": {"name": _NAME, "namespace": namespace},
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    files = {"server.py": Path(__file__).with_name("metrics_server.py").read_text(), **_certificate()}
    pod = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0}
    rule = {"apiGroups": [_GROUP], "resources": ["*"], "verbs": ["get", "list"]}
    role = {"apiGroup": _RBAC, "kind": "Role", "name": _NAME}
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": {"name": _NAME}, "rules": [rule]},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": role,
            "subjects": [_READER],
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _NAME}, "stringData": files},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _NAME, "labels": labels}, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _NAME}, "spec": service},
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{_GROUP}"},
            "spec": api,
        },
    ]


def _certificate() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = Path(directory, "tls.key"), Path(directory, "tls.crt")
        names = ["-subj", f"/CN={_NAME}", "-keyout", str(key), "-out", str(certificate)]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
        subprocess.run(command, check=True, capture_output=True)
        return {path.name: path.read_text() for path in (key, certificate)}
