"""A thread that acts on every change."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .cluster import Cluster
from .storage import Change


class Follower:
    """Calls `handle` with every change, in order, as one step each: nobody writes in between."""

    def __init__(self, cluster: Cluster, handle: Callable[[Change], None], name: str) -> None:
        self._cluster = cluster
        self._handle = handle
        self._subscription = cluster.storage.subscribe(None)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._subscription.offer(None)
        self._thread.join()
        self._cluster.storage.unsubscribe(self._subscription)

    def _run(self) -> None:
        while (item := self._subscription.next(None)) is not None:
            if not isinstance(item, Change):
                continue
            try:
                with self._cluster.storage.lock:
                    self._handle(item)
            except Exception as error:
                self._cluster.defects.append(error)
