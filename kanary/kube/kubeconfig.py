"""Finds the configuration of a cluster: a context of a kubeconfig, or the service account of the pod."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kubernetes import config as kubernetes_config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from kanary.kube.errors import NotConfigured

_NAMED = 5
"""Contexts in a message."""


@dataclass(frozen=True)
class ClusterSource:
    """Where the configuration of a cluster is from, and functions that read it. They raise any exception."""

    name: str
    """For messages."""
    load: Callable[[Any], None]
    """Fill in the official client's configuration."""
    namespace: Callable[[], str]
    user: Callable[[], str] = str


def find_cluster(kubeconfig: str | None, context: str | None) -> ClusterSource:
    """The first of these: `kubeconfig` or `context`, the variable KUBECONFIG, the pod's service account,
    `~/.kube/config`. Raises NotConfigured if there is none."""
    home = Path("~/.kube/config").expanduser()
    if kubeconfig is not None or context is not None:
        return _from_kubeconfig(kubeconfig or os.environ.get("KUBECONFIG") or str(home), context)
    if os.environ.get("KUBECONFIG"):
        return _from_kubeconfig(os.environ["KUBECONFIG"], None)
    if os.environ.get(SERVICE_HOST_ENV_NAME):
        return ClusterSource("the pod's service account", kubernetes_config.load_incluster_config, _pod_namespace)
    if home.exists():
        return _from_kubeconfig(str(home), None)
    raise NotConfigured(
        "no cluster is configured: there is no ~/.kube/config, KUBECONFIG is not set, and this is not a pod; name a "
        "kubeconfig file (--kubeconfig FILE)"
    )


def _from_kubeconfig(files: str, context: str | None) -> ClusterSource:
    if not any(Path(file).expanduser().exists() for file in files.split(os.pathsep)):
        raise NotConfigured(f"kubeconfig {files} does not exist: name a file that does")
    try:
        config = KubeConfigMerger(files).config
        names = [str(each["name"]) for each in config.value.get("contexts") or ()]
        current = context or config.value.get("current-context") or ""
    except Exception as error:  # the library's parsers raise any exception
        raise NotConfigured(f"kubeconfig {files} cannot be used: {error}") from error
    if not names:
        raise NotConfigured(f"kubeconfig {files} cannot be used: it has no contexts")
    if current not in names:
        problem = f"has no context {current}" if current else "has no current context"
        others = ", ".join([*dict.fromkeys([*get_close_matches(current, names), *names])][:_NAMED])
        raise NotConfigured(f"kubeconfig {files} {problem}: name one of its contexts with --context ({others})")

    def load(configuration: Any) -> None:
        with _logged_errors() as problems:
            kubernetes_config.load_kube_config(files, current, configuration)
        # The library would send requests without credentials.
        if problems and not (configuration.api_key or configuration.cert_file):
            raise NotConfigured(f"no credentials: {'; '.join(problems)}")
        user, users = of_context("user"), [str(each["name"]) for each in config.value.get("users") or ()]
        if user and user not in users:
            raise NotConfigured(f"it has no user {user}")

    def of_context(key: str) -> str:
        loader = KubeConfigLoader(config, active_context=current)
        return loader.current_context["context"].get(key) or ""

    return ClusterSource(
        f"context {current} of kubeconfig {files}",
        load,
        namespace=lambda: of_context("namespace") or "default",
        user=lambda: of_context("user"),
    )


def _pod_namespace() -> str:
    return Path(SERVICE_TOKEN_FILENAME).with_name("namespace").read_text(encoding="utf-8").strip()


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect the errors that the library logs where others raise them: those of credential plug-ins."""
    problems: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(" ".join(record.getMessage().split()))

    collector = Collector(logging.ERROR)
    logging.getLogger().addHandler(collector)
    try:
        yield problems
    finally:
        logging.getLogger().removeHandler(collector)
