"""What the operator is told when it starts: by options, or by environment variables of the same names."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from engine.render.pods import DEFAULT_PROXY_IMAGE
from kanary.history.wire import PORT

DEFAULT_HISTORY_URL = "sqlite:////var/lib/kanary/history.db"


class BadSettingError(ValueError):
    """A setting has a value that it cannot have; the message names it and what would do."""


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
    """Of probes and metrics, on every address; 0 takes a free one."""
    history_port: int = PORT
    """Of the history, on loopback."""
    leader_election: bool = True
    lease_namespace: str | None = None
    """Where the Lease is kept; None takes the pod's own namespace, or the context's."""
    lease_name: str = "kanary"
    history_url: str = DEFAULT_HISTORY_URL
    """The database that the history is kept in; empty for none."""
    history_days: int = 400
    history_changes: int = 1_000
    """How long, and how many of each Kanary, changes of weights are kept; 0 is without limit."""
    identity: str = ""
    """Who this is, for people: the pod's name, or the machine's."""
    pod_uid: str = ""
    """Of the pod that this process runs in. A container that is started again leads again at once; empty waits until
    the Lease of the former process has expired."""
    log_level: str = "info"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """The defaults, with what the environment says instead. Raises BadSettingError."""
        return cls(
            proxy_image=environment.get("KANARY_PROXY_IMAGE") or DEFAULT_PROXY_IMAGE,
            namespace=environment.get("KANARY_NAMESPACE") or None,
            history_url=environment.get("KANARY_HISTORY_URL", cls.history_url),
            history_days=_whole(environment, "KANARY_HISTORY_DAYS", cls.history_days),
            history_changes=_whole(environment, "KANARY_HISTORY_CHANGES", cls.history_changes),
            identity=environment.get("POD_NAME") or socket.gethostname(),
            pod_uid=environment.get("POD_UID") or "",
        )


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal():
        raise BadSettingError(f"{name} is {text!r}: must be a whole number, 0 for no limit")
    return int(text)
