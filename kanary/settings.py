"""What the operator is told when it starts: by options, or by environment variables of the same names."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from engine.target import DEFAULT_PROXY_IMAGE


@dataclass(frozen=True)
class Settings:
    """The operator's settings; times in seconds."""

    kubeconfig: str | None = None
    """A kubeconfig file; None takes the pod's service account, KUBECONFIG or ~/.kube/config."""
    context: str | None = None
    namespace: str | None = None
    """The one namespace to work in; None means all."""
    proxy_image: str = DEFAULT_PROXY_IMAGE
    workers: int = 4
    http_port: int = 8080
    leader_election: bool = True
    lease_namespace: str | None = None
    """Where the Lease is kept; None takes the pod's own namespace, or the context's."""
    lease_name: str = "kanary"
    identity: str = ""
    log_level: str = "info"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """The defaults, with what the environment says instead."""
        return cls(
            proxy_image=environment.get("KANARY_PROXY_IMAGE") or DEFAULT_PROXY_IMAGE,
            namespace=environment.get("KANARY_NAMESPACE") or None,
            identity=environment.get("POD_NAME") or socket.gethostname(),
        )
