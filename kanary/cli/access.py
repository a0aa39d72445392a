"""Access to the history: from the database of `--db`, otherwise from the operator, through the API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from kanary.cli.failure import CommandError
from kanary.cli.rights import explained
from kanary.history.faults import BadAddressError, HistoryError
from kanary.history.source import Source
from kanary.kube.errors import ClusterError
from kanary.version import VERSION

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


def connect(kubeconfig: str | None, context: str | None) -> ClusterClient:
    """A client of the cluster. Raises ClusterError."""
    from kanary.kube.client import ClusterClient  # noqa: PLC0415 -- loads the official client, which --db does not need

    return ClusterClient.connect(kubeconfig=kubeconfig, context=context, user_agent=f"kanary-cli/{VERSION}")


def connect_or(way_out: str, kubeconfig: str | None, context: str | None) -> ClusterClient:
    """A client of the cluster. Raises CommandError, with this way out as well."""
    try:
        return connect(kubeconfig, context)
    except ClusterError as error:
        raise CommandError(f"{explained(error)}; or {way_out}") from error


@contextmanager
def opened(
    *, namespace: str | None, operator_namespace: str, db: str | None, client: ClusterClient | None = None, **way: Any
) -> Iterator[tuple[Source, str]]:
    """Open the history; returns it with the namespace of the command. `way` has the arguments of `connect`.

    Raises errors of the history and of the cluster as CommandError.
    """
    source: Source
    with reported():
        if db is not None:
            from kanary.history.read_timeout import TimedReader  # noqa: PLC0415 -- see below
            from kanary.history.reader import Reader  # noqa: PLC0415 -- loads SQLAlchemy, which only --db needs

            source = TimedReader(Reader(db))
        else:
            from kanary.history.remote import HttpSource  # noqa: PLC0415 -- loads what --db does not need

            client = client or connect_or("read a history database: --db URL", **way)
            source = HttpSource(client, operator_namespace)
        with closing(source):
            yield source, namespace or (client.namespace if client else "default")


@contextmanager
def reported() -> Iterator[None]:
    """Raise errors of the history and of the cluster as CommandError."""
    try:
        yield
    except ClusterError as error:
        raise CommandError(explained(error)) from error
    except (HistoryError, BadAddressError) as error:
        raise CommandError(str(error)) from error
