"""The way to the record: a database that is named, or else the operator, through the cluster's API server."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kanary.cli.failure import CommandError
from kanary.history.problems import BadAddressError, HistoryError
from kanary.history.selection import BadCursorError
from kanary.history.source import Source
from kanary.kube.errors import ClusterError
from kanary.version import VERSION

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


@dataclass(frozen=True)
class Access:
    """The record, and the namespace that is meant where none is named."""

    source: Source
    namespace: str


def connect(options: argparse.Namespace) -> ClusterClient:
    """The cluster that the options name. Raises ClusterError."""
    from kanary.kube.client import ClusterClient  # noqa: PLC0415 -- loads the official client, which --db does not need

    return ClusterClient.connect(
        kubeconfig=options.kubeconfig, context=options.context, user_agent=f"kanary-cli/{VERSION}"
    )


def _connect_to_ask(options: argparse.Namespace) -> ClusterClient:
    try:
        return connect(options)
    except ClusterError as error:
        raise CommandError(f"{error}; or read a history database itself: --db URL") from error


@contextmanager
def opened(options: argparse.Namespace, client: ClusterClient | None = None) -> Iterator[Access]:
    """Reach the record as the options say. What goes wrong with it is raised as CommandError."""
    with told():
        if options.db is not None:
            namespace = client.namespace if client else "default"
            source = _database(options.db)
        else:
            client = client or _connect_to_ask(options)
            namespace = client.namespace
            source = _operator(client, options.operator_namespace)
        try:
            yield Access(source, options.namespace or namespace)
        finally:
            source.close()


@contextmanager
def told() -> Iterator[None]:
    """Have what is wrong with the record or the cluster said."""
    try:
        yield
    except (HistoryError, BadAddressError, BadCursorError, ClusterError) as error:
        raise CommandError(str(error)) from error


def _database(url: str) -> Source:
    from kanary.history.reader import Reader  # noqa: PLC0415 -- loads SQLAlchemy, which only --db needs

    return Reader(url)


def _operator(client: ClusterClient, namespace: str) -> Source:
    from kanary.history.remote import HttpSource  # noqa: PLC0415 -- loads pydantic, which --db does not need

    return HttpSource(client, namespace)
