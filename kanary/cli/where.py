"""Where a command reads the history, and of which namespace."""

from dataclasses import dataclass

OPERATOR_NAMESPACE = "kanary-system"
IN_THE_POD = f"kubectl -n {OPERATOR_NAMESPACE} exec deploy/kanary --"


@dataclass(frozen=True)
class Where:
    """The cluster, the namespace and the history that the options name; None where they name none."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    operator_namespace: str
    db: str | None
    """URL of a database to read instead of the operator."""
