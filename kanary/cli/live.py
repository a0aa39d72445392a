"""Reads a Kanary from the cluster; the error about an unknown one lists the existing ones."""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from kanary.cli.failure import CommandError, listed
from kanary.kanaries import KANARIES
from kanary.kube.errors import ClusterError, NotFound
from kanary.kube.resources import Json

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


def live_kanary(client: ClusterClient, namespace: str, name: str) -> Json:
    """The object. Raises CommandError if it does not exist, and ClusterError."""
    try:
        return client.get(KANARIES, namespace, name)
    except NotFound as error:
        missing = f"there is no Kanary {name} in namespace {namespace} of {client.host}"
        # Without the right to list, nothing is known about others.
        with suppress(ClusterError):
            kanaries, _ = client.list(KANARIES, namespace)
            names = sorted(each["metadata"]["name"] for each in kanaries)
            nearest = dict.fromkeys([*get_close_matches(name, names), *names])
            missing = f"{missing}; it has {listed([*nearest] or ['none'])}"
        raise CommandError(missing) from error
