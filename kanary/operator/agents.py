"""Requests reports from the sidecar agents of running proxies, over the pod network."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from engine.fleet.proxy import read_proxy
from engine.fleet.reports import Report, read_report
from engine.ports import RetryLaterError
from engine.render.pods import AGENT_PORT
from states.timing import FIRST_REPORT_LIMIT, REPORT_TIMEOUT, SILENCE_PAUSES

Json = dict[str, Any]

_log = logging.getLogger(__name__)

# With HTTP/1.0 the response is not chunked, and the server closes the connection.
_REQUEST = b"GET /report HTTP/1.0\r\n\r\n"
_MAX_BYTES = 65_536
_STORED = 10_000
"""Maximum number of proxies with a stored report; the one with the oldest report is dropped first."""


@dataclass(frozen=True)
class _Silence:
    """Failed requests in a row: how many more than one, when the first one was, and when to retry."""

    times: int
    since: float
    until: float


class HttpAgents:
    """Implements `kanary.operator.view.Agents` with HTTP requests to the pods' addresses. Thread-safe."""

    def __init__(self, port: int = AGENT_PORT, timeout_seconds: float = REPORT_TIMEOUT.total_seconds()) -> None:
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._silent: dict[str, _Silence] = {}
        self._last: dict[str, Report] = {}

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The last reports of these pods, by name. An older report is still true: without a new mount nothing changes.

        Raises RetryLaterError while a ready pod may still send its first report.
        """
        found = [pod for pod in pods if read_proxy(pod, None).has_reachable_agent and not self._is_paused(pod)]
        # All at once and in this thread, so that slow agents delay their own Kanary only.
        responses = asyncio.run(self._fetch_all([pod["status"]["podIP"] for pod in found])) if found else []
        for pod, response in zip(found, responses, strict=True):
            self._store(pod, response)
        with self._lock:
            known = {pod["metadata"]["name"]: self._last.get(pod["metadata"]["uid"]) for pod in pods}
            for pod in pods:
                if known[pod["metadata"]["name"]] is None and self._may_still_report(pod):
                    raise RetryLaterError(
                        f"pod {pod['metadata']['name']} has not reported yet", SILENCE_PAUSES[0].total_seconds()
                    )
        return {name: report for name, report in known.items() if report}

    def _may_still_report(self, pod: Json) -> bool:
        silence = self._silent.get(pod["metadata"]["uid"])
        is_early = silence is not None and time.monotonic() - silence.since < FIRST_REPORT_LIMIT.total_seconds()
        return is_early and read_proxy(pod, None).is_ready

    async def _fetch_all(self, addresses: Sequence[str]) -> list[bytes | BaseException]:
        responses = (_fetch(address, self._port, self._timeout_seconds) for address in addresses)
        return await asyncio.gather(*responses, return_exceptions=True)

    def _store(self, pod: Json, response: bytes | BaseException) -> None:
        name, uid = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", pod["metadata"]["uid"]
        try:
            report = read_report(json.loads(_body(response)))
        except (OSError, ValueError, RecursionError) as error:
            _log.debug("no report from the agent of pod %s: %s", name, error or type(error).__name__)
            self._store_silence(uid)
            return
        with self._lock:
            self._silent.pop(uid, None)
            self._last.pop(uid, None)
            self._last[uid] = report
            if len(self._last) > _STORED:
                del self._last[next(iter(self._last))]

    def _is_paused(self, pod: Json) -> bool:
        with self._lock:
            silence = self._silent.get(pod["metadata"]["uid"])
        return silence is not None and time.monotonic() < silence.until

    def _store_silence(self, uid: str) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._silent) >= _STORED:
                self._silent.clear()
            before = self._silent.get(uid)
            times = before.times + 1 if before else 0
            pause = SILENCE_PAUSES[min(times, len(SILENCE_PAUSES) - 1)].total_seconds()
            self._silent[uid] = _Silence(times, before.since if before else now, now + pause)


async def _fetch(address: str, port: int, seconds: float) -> bytes:
    """The whole response, up to _MAX_BYTES. Raises OSError, and ValueError for an invalid address."""
    # A host name would start a DNS lookup in a thread that cannot be stopped.
    host = str(ip_address(address))
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(_REQUEST)
            response = bytearray()
            while len(response) <= _MAX_BYTES and (more := await reader.read(_MAX_BYTES)):
                response += more
        finally:
            writer.transport.abort()
    return bytes(response)


def _body(response: bytes | BaseException) -> bytes:
    """The body of the response. Raises the error of the request, and ValueError unless the status is 200."""
    if isinstance(response, BaseException):
        raise response
    head, _, body = response.partition(b"\r\n\r\n")
    if head.split(None, 2)[1:2] != [b"200"] or len(response) > _MAX_BYTES:
        raise ValueError(f"the response is {head[:40]!r} with {len(body)} bytes")
    return body
