"""What kubelets and agents make of proxies' pods in the tests' API server: pods load what is new when annotated."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from engine.fleet.reports import Report
from engine.model.states import read_written
from engine.render.objects import KANARY_LABEL, REFRESH_ANNOTATION
from tests.apiserver import ApiServer

Json = dict[str, Any]


class ClusterAgents:
    """Implements `kanary.operator.view.Agents` from what the API server has."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._served: dict[str, tuple[str, str]] = {}
        """By pod, the annotation that it was last seen with, and the configuration that it serves since then."""
        self.silent = False

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        if self.silent:
            # As in the operator, what each reported last is what is known.
            return {pod["metadata"]["name"]: Report(self._last(pod)) for pod in pods if self._last(pod)}
        return {pod["metadata"]["name"]: Report(self._serves(pod)) for pod in pods}

    def _last(self, pod: Json) -> str:
        with self._lock:
            return self._served.get(pod["metadata"]["uid"], ("", ""))[1]

    def _serves(self, pod: Json) -> str:
        metadata = pod["metadata"]
        live = self._server.store.get("pods", metadata["name"], metadata["namespace"]) or pod
        refresh = (live["metadata"].get("annotations") or {}).get(REFRESH_ANNOTATION, "")
        with self._lock:
            seen, digest = self._served.get(metadata["uid"], ("never", ""))
            if seen != refresh:
                digest = self._mounted(metadata)
                self._served[metadata["uid"]] = refresh, digest
            return digest

    def _mounted(self, metadata: Json) -> str:
        name = f"{metadata['labels'][KANARY_LABEL]}-haproxy"
        applied = read_written(self._server.store.get("configmaps", name, metadata["namespace"])).applied
        return applied.digest if applied else ""

    def answer(self, pipe: Connection) -> None:
        """Answers an operator in another process, for as long as it lives."""
        with suppress(EOFError, OSError):
            while True:
                pipe.send(self.reports(pipe.recv()))


class RemoteAgents:
    """Implements the same in another process, by asking `ClusterAgents.answer` over a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        with self._lock:
            self._pipe.send(pods)
            answer: Mapping[str, Report] = self._pipe.recv()
            return answer
