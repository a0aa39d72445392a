"""Asks the agents beside running proxies what they serve, over the pod network."""

import http.client
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from engine.pods import AGENT_PORT
from engine.reports import Report, read_report

Json = dict[str, Any]

_log = logging.getLogger(__name__)

_PATH = "/report"
_TIMEOUT_SECONDS = 1.0
_MAX_BYTES = 65_536
_ASKED_AT_ONCE = 16
_SILENCE_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""How long one that does not answer is left alone, by how often it did not: a worker that waits does nothing else."""
_REMEMBERED = 10_000


@dataclass(frozen=True)
class _Silence:
    times: int
    until: float


class HttpAgents:
    """Implements `kanary.view.Agents` by HTTP to the pods' addresses; for any number of threads."""

    def __init__(self, port: int = AGENT_PORT, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._pool = ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="agents")
        self._lock = threading.Lock()
        self._silent: dict[str, _Silence] = {}

    def ask(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The reports of these pods, by name; who is silent, or was a moment ago, is left out."""
        found = [pod for pod in pods if not self._is_left_alone(pod)]
        reports = self._pool.map(self._report, found)
        return {pod["metadata"]["name"]: report for pod, report in zip(found, reports, strict=True) if report}

    def _report(self, pod: Json) -> Report | None:
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        try:
            report = read_report(json.loads(self._get(pod["status"]["podIP"])))
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            _log.debug("the agent of pod %s does not report: %s", name, error)
            self._note_silence(pod)
            return None
        with self._lock:
            self._silent.pop(pod["metadata"]["uid"], None)
        return report

    def _get(self, address: str) -> bytes:
        connection = http.client.HTTPConnection(address, self._port, timeout=self._timeout_seconds)
        try:
            connection.request("GET", _PATH)
            response = connection.getresponse()
            body = response.read(_MAX_BYTES + 1)
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK or len(body) > _MAX_BYTES:
            raise ValueError(f"it answered {response.status} with {len(body)} bytes")
        return body

    def _is_left_alone(self, pod: Json) -> bool:
        with self._lock:
            silence = self._silent.get(pod["metadata"]["uid"])
        return silence is not None and time.monotonic() < silence.until

    def _note_silence(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        with self._lock:
            if len(self._silent) >= _REMEMBERED:
                self._silent.clear()
            times = self._silent[uid].times + 1 if uid in self._silent else 0
            pause = _SILENCE_SECONDS[min(times, len(_SILENCE_SECONDS) - 1)]
            self._silent[uid] = _Silence(times, time.monotonic() + pause)
