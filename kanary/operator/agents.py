"""Asks the agents beside running proxies what they serve, over the pod network."""

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

# Of HTTP 1.0, to which nobody answers in chunks, and after which the connection is closed.
_REQUEST = b"GET /report HTTP/1.0\r\n\r\n"
_MAX_BYTES = 65_536
_REMEMBERED = 10_000
"""Proxies; the one that has not reported for the longest time is forgotten first."""


@dataclass(frozen=True)
class _Silence:
    times: int
    since: float
    until: float


class HttpAgents:
    """Implements `kanary.operator.view.Agents` by HTTP to the pods' addresses; for any number of threads."""

    def __init__(self, port: int = AGENT_PORT, timeout_seconds: float = REPORT_TIMEOUT.total_seconds()) -> None:
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._silent: dict[str, _Silence] = {}
        self._last: dict[str, Report] = {}

    def ask(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """The last reports of these pods, by name: what a proxy serves changes only with what it mounts.

        Raises RetryLaterError while one that is ready has not had the time to answer for the first time.
        """
        found = [pod for pod in pods if read_proxy(pod, None).has_reachable_agent and not self._is_left_alone(pod)]
        # All at once, in this thread: no Kanary's agents can take the time of another's.
        answers = asyncio.run(self._answers([pod["status"]["podIP"] for pod in found])) if found else []
        for pod, answer in zip(found, answers, strict=True):
            self._note(pod, answer)
        with self._lock:
            known = {pod["metadata"]["name"]: self._last.get(pod["metadata"]["uid"]) for pod in pods}
            for pod in pods:
                if known[pod["metadata"]["name"]] is None and self._may_yet_answer(pod):
                    raise RetryLaterError(
                        f"pod {pod['metadata']['name']} has not reported yet", SILENCE_PAUSES[0].total_seconds()
                    )
        return {name: report for name, report in known.items() if report}

    def _may_yet_answer(self, pod: Json) -> bool:
        silence = self._silent.get(pod["metadata"]["uid"])
        is_early = silence is not None and time.monotonic() - silence.since < FIRST_REPORT_LIMIT.total_seconds()
        return is_early and read_proxy(pod, None).is_ready

    async def _answers(self, addresses: Sequence[str]) -> list[bytes | BaseException]:
        answers = (_answer(address, self._port, self._timeout_seconds) for address in addresses)
        return await asyncio.gather(*answers, return_exceptions=True)

    def _note(self, pod: Json, answer: bytes | BaseException) -> None:
        name, uid = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", pod["metadata"]["uid"]
        try:
            report = read_report(json.loads(_body(answer)))
        except (OSError, ValueError, RecursionError) as error:
            _log.debug("the agent of pod %s does not report: %s", name, error or type(error).__name__)
            self._note_silence(uid)
            return
        with self._lock:
            self._silent.pop(uid, None)
            self._last.pop(uid, None)
            self._last[uid] = report
            if len(self._last) > _REMEMBERED:
                del self._last[next(iter(self._last))]

    def _is_left_alone(self, pod: Json) -> bool:
        with self._lock:
            silence = self._silent.get(pod["metadata"]["uid"])
        return silence is not None and time.monotonic() < silence.until

    def _note_silence(self, uid: str) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._silent) >= _REMEMBERED:
                self._silent.clear()
            before = self._silent.get(uid)
            times = before.times + 1 if before else 0
            pause = SILENCE_PAUSES[min(times, len(SILENCE_PAUSES) - 1)].total_seconds()
            self._silent[uid] = _Silence(times, before.since if before else now, now + pause)


async def _answer(address: str, port: int, seconds: float) -> bytes:
    """All that is said until the connection is closed. Raises OSError, and ValueError for what is no address."""
    # A name would be looked up, by a thread that nothing can stop.
    host = str(ip_address(address))
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(_REQUEST)
            answer = bytearray()
            while len(answer) <= _MAX_BYTES and (more := await reader.read(_MAX_BYTES)):
                answer += more
        finally:
            writer.transport.abort()
    return bytes(answer)


def _body(answer: bytes | BaseException) -> bytes:
    """What the answer says. Raises what kept it from coming, and ValueError for one that is not to be read."""
    if isinstance(answer, BaseException):
        raise answer
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(None, 2)[1:2] != [b"200"] or len(answer) > _MAX_BYTES:
        raise ValueError(f"it answered {head[:40]!r} with {len(body)} bytes")
    return body
