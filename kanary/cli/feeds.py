"""A copy of Kanaries that follows the cluster, for commands that watch them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kanary.cli.times import age_text
from kanary.cli.watching import Feed
from kanary.kanaries import KANARIES
from kanary.kube.reflector import Reflector
from kanary.kube.resources import Json, Key

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


class KanariesFeed(Feed):
    """Follows all Kanaries, those of a namespace, or one."""

    def __init__(self, client: ClusterClient, namespace: str | None, name: str | None = None) -> None:
        super().__init__()
        self._client = client
        self._copy = Reflector(
            client,
            KANARIES,
            on_change=self._changed,
            namespace=namespace,
            field_selector=f"metadata.name={name}" if name else None,
        )
        # What it logs about a lost connection is part of each sight.
        logging.getLogger("kanary").addHandler(logging.NullHandler())

    def __enter__(self) -> Self:
        self._copy.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Its thread is a daemon, for which an interrupted command does not wait.
        self._copy.stop(timeout=0.0)

    def _changed(self, _: Key, __: Json | None, ___: Json | None) -> None:
        self.news.set()

    @property
    def _trouble(self) -> tuple[str, ...]:
        """That the copy is old, if it is."""
        problem = self._copy.problem()
        if not problem:
            return ()
        now = datetime.now(UTC)
        return (f"this is the state {age_text(now - timedelta(seconds=self._copy.age()), now)} ago: {problem}",)
