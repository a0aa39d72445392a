"""Reads the reports of a Kanary's proxies from their agents, through port-forwards with the user's own rights.

The operator is not needed: its replicas but one have no reports, and no report that it receives has failed connections,
since these contain addresses of clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from pydantic import Field, TypeAdapter

from engine.fleet.proxy import Proxy, has_agent, read_proxy
from engine.fleet.reports import read_report
from engine.model.shape import Shape
from engine.render.objects import KANARY_LABEL
from engine.render.pods import AGENT_PORT
from kanary.cli.rights import explained
from kanary.kube.errors import ClusterError, Forbidden, NotForwarded
from kanary.kube.pods import port_of
from kanary.kube.resources import PODS, Json
from kanary.kube.verbs import Timeouts

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_AT_ONCE = 16
"""Proxies that are read at the same time."""
_TIMEOUTS = Timeouts(connect=5.0, read=5.0)
_REPORT_BYTES = 1024 * 1024
_ROLLING = "with Rolling no agent records them (HAProxy's metrics on port 8404 count them)"


class ReportedFailure(Shape):
    """A failed connection as the agent of a proxy reports it."""

    seconds_ago: float = Field(ge=0, le=10**9)
    """How long before the report it ended."""
    server: str
    """Address and port of the last pod that was tried; empty if there was none."""
    client: str
    """Address and port."""
    cause: str


class ReportedServer(Shape):
    """A server that receives no new connections, as the agent of a proxy reports it."""

    seconds: int = Field(ge=0, le=10**9)
    """For how long."""
    address: str
    """Address and port."""
    status: str
    """DOWN, or DRAIN if it is ejected."""
    check: str = ""
    """HAProxy's code for the result of the last check, such as L4CON."""
    text: str = ""
    """HAProxy's description of it."""


class _ReportedRoute(Shape):
    servers: tuple[ReportedServer, ...] = ()


_FAILURES = TypeAdapter(dict[str, tuple[ReportedFailure, ...]])
_ROUTES = TypeAdapter(dict[str, _ReportedRoute])


@dataclass(frozen=True)
class Reading:
    """A proxy, with what its agent reports if it could be read."""

    proxy: Proxy
    read_at: datetime
    """By the API server's clock."""
    problem: str = ""
    """Why the report is unknown."""
    failures: Mapping[str, tuple[ReportedFailure, ...]] = field(default_factory=dict)
    """The last failed connections by backend, newest first."""
    servers: Mapping[str, tuple[ReportedServer, ...]] = field(default_factory=dict)
    """The servers that receive no new connections, by backend: ten of each at most."""


def read_proxies(client: ClusterClient, namespace: str, name: str) -> list[Reading]:
    """All proxies that have not ended, by name. Raises ClusterError if the pods cannot be listed."""
    pods, _ = client.list(PODS, namespace, f"{KANARY_LABEL}={name}")
    running = [pod for pod in pods if not read_proxy(pod, None).has_ended]
    running.sort(key=lambda pod: str(pod["metadata"]["name"]))
    return _at_once(partial(_read, client.with_timeouts(_TIMEOUTS)), running)


def _at_once(read: Callable[[Json], Reading], pods: Sequence[Json]) -> list[Reading]:
    """As `map`, in threads for which an interrupted command does not wait, unlike those of a ThreadPoolExecutor."""
    waiting, found = SimpleQueue[tuple[int, Json]](), SimpleQueue[tuple[int, Reading | Exception]]()

    def work() -> None:
        with suppress(Empty):
            while True:
                number, pod = waiting.get_nowait()
                try:
                    found.put((number, read(pod)))
                except Exception as defect:  # it is raised below
                    found.put((number, defect))

    for pod in enumerate(pods):
        waiting.put(pod)
    for _ in range(min(_AT_ONCE, len(pods))):
        Thread(target=work, daemon=True).start()
    by_number = dict(found.get() for _ in pods)
    readings = [by_number[number] for number in range(len(pods))]
    for reading in readings:
        if isinstance(reading, Exception):
            raise reading
    return [reading for reading in readings if isinstance(reading, Reading)]


def _read(client: ClusterClient, pod: Json) -> Reading:
    proxy, now = read_proxy(pod, None), client.clock.now()
    if not has_agent(pod):
        return Reading(proxy, now, _ROLLING)
    if not proxy.address:
        return Reading(proxy, now, "the pod does not run yet")
    try:
        raw = _report_of(client, pod)
        now = client.clock.now()
        report, failures = read_report(raw, now), _FAILURES.validate_python(raw.get("failures") or {})
        servers = {name: route.servers for name, route in _ROUTES.validate_python(raw.get("routes") or {}).items()}
        return Reading(read_proxy(pod, report), now, failures=failures, servers=servers)
    except (HTTPException, OSError, ClusterError, ValueError, RecursionError) as error:
        return Reading(proxy, now, _problem(error))


def _problem(error: Exception) -> str:
    match error:
        case Forbidden():
            return explained(error)
        case NotForwarded():
            # The node's words about a closed port name namespaces and both families of addresses.
            is_closed = "connection refused" in str(error).lower()
            return f"its agent does not take connections: {'connection refused' if is_closed else error}"
        case ValueError() | RecursionError():
            # Proxy pods belong to users, who may have them send anything.
            return f"the report of its agent is invalid: {str(error).splitlines()[0]:.200}"
    return f"its agent cannot be reached: {error or type(error).__name__}"


def _report_of(client: ClusterClient, pod: Json) -> Mapping[str, Any]:
    """Raises HTTPException, OSError, ClusterError and ValueError."""
    with closing(HTTPConnection("localhost")) as http:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        connection: Any = client.forward(namespace, name, port_of(pod, "report", AGENT_PORT))
        http.sock = connection
        http.request("GET", "/report")
        response = http.getresponse()
        if response.status != HTTPStatus.OK:
            raise ValueError(f"status {response.status} {response.reason}")
        report = json.loads(response.read(_REPORT_BYTES))
    if not isinstance(report, Mapping):
        raise ValueError("the report is not an object")  # noqa: TRY004  as in read_report
    return report


def unread(readings: Sequence[Reading]) -> Mapping[str, list[str]]:
    """The names of the proxies whose reports are unknown, by the reason, without those that stop: their agents end."""
    found: dict[str, list[str]] = {}
    for reading in readings:
        if reading.problem and not reading.proxy.stopping_since:
            found.setdefault(reading.problem, []).append(reading.proxy.name)
    return found
