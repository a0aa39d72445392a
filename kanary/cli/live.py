"""Reads a Kanary from the cluster, for commands that need no operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from engine.model.status import KanaryStatus
from kanary.cli.failure import CommandError, listed
from kanary.kanaries import KANARIES
from kanary.kube.errors import ClusterError, NotFound
from kanary.kube.resources import Json

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_OPERATOR = "see whether the operator runs: kubectl get pods -A -l app.kubernetes.io/name=kanary"


def live_kanary(client: ClusterClient, namespace: str, name: str) -> Json:
    """The object. Raises CommandError if it does not exist, which lists the existing ones, and ClusterError."""
    try:
        return client.get(KANARIES, namespace, name)
    except NotFound as error:
        if error.unserved:
            raise
        missing = f"there is no Kanary {name} in namespace {namespace} of {client.cluster}"
        # Without the right to list, nothing is known about others.
        with suppress(ClusterError):
            kanaries, _ = client.list(KANARIES, namespace)
            names = sorted(each["metadata"]["name"] for each in kanaries)
            nearest = dict.fromkeys([*get_close_matches(name, names), *names])
            others = listed([*nearest]) if names else "none: name its namespace with -n (kanary list -A shows all)"
            missing = f"{missing}; it has {others}"
        raise CommandError(missing) from error


def kanary_to_change(client: ClusterClient, namespace: str, name: str) -> Json:
    """As `live_kanary`; raises CommandError also if it is being deleted."""
    kanary = live_kanary(client, namespace, name)
    if kanary["metadata"].get("deletionTimestamp"):
        raise CommandError(f"{name} is being deleted")
    return kanary


def outdated(kanary: Json, status: KanaryStatus) -> Iterator[str]:
    """Why the status is not that of the present spec; nothing if it is."""
    generation = kanary["metadata"].get("generation") or 0
    if not status.phase:
        yield f"the operator has not written a status yet: {_OPERATOR}"
    elif status.observed_generation < generation:
        observed = status.observed_generation
        yield f"the status describes generation {observed} of the spec, which is at {generation} by now: {_OPERATOR}"
