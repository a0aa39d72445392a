"""Words that may follow on the command line, for completion: names from the cluster and from the kubeconfig.

A completion raises no error and waits for a limited time: a cluster that does not respond in time has no names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from kanary.kanaries import KANARIES
from kanary.kube.resources import NAMESPACES
from states.texts import one_line

if TYPE_CHECKING:
    import click

    from kanary.kube.client import ClusterClient

SECONDS = 1.5
"""The time limit for the cluster, including a credential plug-in of the kubeconfig."""

Items = list[CompletionItem[str]]
Suggest = Callable[["click.Context", "click.Parameter", str], Items]
_Words = Iterable[tuple[str, str]]
"""Words, each with a description, which may be empty."""
_Options = dict[str, Any]


def _suggesting(words_of: Callable[[_Options], _Words]) -> Suggest:
    """Complete with what this function reads with the options so far."""

    def suggest(context: click.Context, _: click.Parameter, begun: str) -> Items:
        # Whatever a damaged kubeconfig or an unusual cluster leads to, there is nothing to suggest.
        with suppress(Exception):
            return [
                CompletionItem(word, help=one_line(text) or None)
                for word, text in words_of(_options(context))
                if word.startswith(begun)
            ]
        return []

    return suggest


def _options(context: click.Context) -> _Options:
    """Those given so far. Before an option whose value is completed, click assigns no arguments: NAME is the first."""
    given = {name: value for name, value in context.params.items() if value is not None}
    return {"name": next(iter(context.args), ""), **given}


def _from_cluster(words_of: Callable[[ClusterClient, str, _Options], _Words]) -> Suggest:
    """Complete with what this function reads from a cluster, with the namespace, within the time limit."""

    def in_time(options: _Options) -> _Words:
        from kanary.cli.access import connect
        from kanary.kube.client import Timeouts

        found: list[tuple[str, str]] = []

        def read() -> None:
            with suppress(Exception):
                client = connect(options.get("kubeconfig"), options.get("context"))
                client = client.with_timeouts(Timeouts(SECONDS, SECONDS))
                found.extend(words_of(client, options.get("namespace") or client.namespace, options))

        # A daemon: it cannot be cancelled, and must not delay the end of the process.
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(SECONDS)
        return [*found]

    return _suggesting(in_time)


def _kanaries(client: ClusterClient, namespace: str, _: _Options) -> _Words:
    objects, _version = client.list(KANARIES, namespace)
    for each in sorted(objects, key=lambda each: str(each["metadata"]["name"])):
        status = each.get("status") or {}
        columns = (status.get("phase"), (status.get("display") or {}).get("weights"))
        yield each["metadata"]["name"], " ".join(text for text in columns if text)


def _namespaces(client: ClusterClient, _: str, __: _Options) -> _Words:
    objects, _version = client.list(NAMESPACES)
    return [(name, "") for name in sorted(each["metadata"]["name"] for each in objects)]


def _revisions(client: ClusterClient, namespace: str, options: _Options) -> _Words:
    """The latest ones, which the status has: to read the history takes a port-forward."""
    status = client.get(KANARIES, namespace, options["name"])["status"]
    for entry in reversed(status["history"]["entries"]):
        if entry["kind"] == "WeightChange":
            yield str(entry["revision"]), " ".join(f"{each['backend']}={each['weight']}" for each in entry["after"])


def _steps(client: ClusterClient, namespace: str, options: _Options) -> _Words:
    rollout = client.get(KANARIES, namespace, options["name"])["status"]["rollout"]
    return [(str(rollout["step"]), f"present step of {rollout['steps']}")] if rollout.get("step") else []


def _contexts(options: _Options) -> _Words:
    """From the files alone: the client of the cluster takes half a second to load."""
    from kanary.cli.yaml_source import read_objects

    files = options.get("kubeconfig") or os.environ.get("KUBECONFIG") or "~/.kube/config"
    for file in filter(None, files.split(os.pathsep)):
        path = Path(file).expanduser()
        if path.exists():
            for config in read_objects(path.read_text(encoding="utf-8")):
                for each in config.value.get("contexts") or []:
                    yield each["name"], (each.get("context") or {}).get("namespace") or ""


def _reasons(_: _Options) -> _Words:
    from kanary.reasons_page import ALL

    return [(reason, explanation.meaning) for found in ALL.values() for reason, explanation in found.items()]


kanaries = _from_cluster(_kanaries)
"""The Kanaries of the namespace."""
namespaces = _from_cluster(_namespaces)
"""The namespaces of the cluster."""
revisions = _from_cluster(_revisions)
"""The latest revisions of the Kanary NAME."""
steps = _from_cluster(_steps)
"""The present step of the rollout of the Kanary NAME."""
contexts = _suggesting(_contexts)
"""The contexts of the kubeconfig."""
reasons = _suggesting(_reasons)
"""Every reason of a status, an Event or a condition."""


def files(_: click.Context, __: click.Parameter, begun: str) -> Items:
    """File names, which the shell completes."""
    return [CompletionItem(begun, type="file")]
