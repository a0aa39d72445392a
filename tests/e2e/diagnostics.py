"""What a person would look at when something on the cluster is not as it should be."""

import subprocess
from collections.abc import Iterator

from tests.e2e.kubectl import Kubectl, KubectlError

SYSTEM_NAMESPACE = "kanary-system"
LINES_OF_LOG = "60"
MARK = "--- kubectl -n"

Look = tuple[str, ...]


def looks(namespace: Kubectl) -> Iterator[tuple[Kubectl, Look]]:
    """The commands whose output explains the state of a namespace and of the operator."""
    yield namespace, ("get", "kanaries", "-o", "wide")
    yield namespace, ("describe", "kanaries")
    yield namespace, ("get", "all,configmaps,endpoints", "-o", "wide")
    yield namespace, ("get", "events", "--sort-by=.lastTimestamp")
    proxies = ("-l", "app.kubernetes.io/managed-by=kanary", "--prefix", "--all-containers", "--tail=20")
    yield namespace, ("logs", *proxies, "--ignore-errors")
    system = namespace.within(SYSTEM_NAMESPACE)
    yield system, ("get", "pods,leases", "-o", "wide")
    operator = ("-l", "app.kubernetes.io/name=kanary", "--prefix", f"--tail={LINES_OF_LOG}", "--ignore-errors")
    yield system, ("logs", *operator)


def report(namespace: Kubectl) -> str:
    """Everything worth a look, as text. Never raises: it is called when something has failed already."""
    parts = []
    for kubectl, arguments in looks(namespace):
        try:
            printed = kubectl(*arguments, timeout=30)
        except (KubectlError, subprocess.TimeoutExpired) as error:
            printed = f"{error}\n"
        parts.append(f"{MARK} {kubectl.namespace} {' '.join(arguments)}\n{printed}")
    return "\n".join(parts)
