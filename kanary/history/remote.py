"""The history as the operator serves it, over a port that is forwarded with the reader's own rights."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError

from engine.model.entries import Configuration
from engine.model.shape import Shape
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, ConfigurationQuery, EntryQuery, KanaryQuery
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry
from kanary.history.wire import PORT, ROOT, Refusal, Refused
from kanary.kube.errors import ClusterError, Forbidden, NotForwarded, Unauthorized, Unreachable
from kanary.kube.resources import PODS, Json, Resource

S = TypeVar("S", bound=Shape)

OPERATOR = "app.kubernetes.io/name=kanary"
"""Labels of the operator's pods."""
ROLE = "kanary-viewer"

_LONGEST = 500  # characters of a message that comes from elsewhere
_OTHER_VERSION = "use the kanary of the operator's version"


class Forwarding(Protocol):
    """What is needed of `ClusterClient`. Each call raises ClusterError."""

    @property
    def host(self) -> str:
        """The API server's URL."""

    def list(
        self, resource: Resource, namespace: str | None = None, label_selector: str | None = None
    ) -> tuple[list[Json], str]:
        """The objects of a kind, and their version."""

    def forward(self, namespace: str, pod: str, port: int) -> Any:
        """A connection to a port of a pod, which `http.client` can use as a socket."""


class HttpSource:
    """Implements `Source` over the operator's HTTP API, on one connection.

    Errors say how it was tried, what is in the way, and that `--db` does without the operator.
    """

    def __init__(self, cluster: Forwarding, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._http = HTTPConnection("localhost")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def kanaries(self, query: KanaryQuery) -> Page[KanarySummary]:
        """Kanaries, by namespace, name and uid."""
        return self._get("kanaries", query, Page[KanarySummary])

    def changes(self, query: ChangeQuery) -> Page[RecordedChange]:
        """Weight changes, the newest first; those of one name Kanary by Kanary, the existing one first."""
        return self._get("changes", query, Page[RecordedChange])

    def entries(self, query: EntryQuery) -> Page[RecordedEntry]:
        """Entries, in the order of `changes`."""
        return self._get("entries", query, Page[RecordedEntry])

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None where it is not kept."""
        found = self._get("configurations", ConfigurationQuery(digest=digest), Page[Configuration])
        return next(iter(found.items), None)

    def _get(self, path: str, query: BaseModel, shape: type[S]) -> S:
        """What is at a path below the API's root."""
        parameters = urlencode(query.model_dump(mode="json", exclude_defaults=True))
        status, body = self._request(f"{ROOT}/{path}?{parameters}")
        try:
            if status == HTTPStatus.OK:
                return shape.model_validate_json(body, by_alias=True)
            refused = Refused.model_validate_json(body)
        except ValidationError as error:
            message = f"its answer is no {shape.__name__} that this version can read"
            raise self._no_answer(message, _OTHER_VERSION) from error
        if refused.reason == Refusal.UNKNOWN_PATH:
            raise self._no_answer("it does not serve this part of the history", _OTHER_VERSION)
        if refused.reason == Refusal.BAD_PARAMETER:
            raise HistoryError(FaultReason.REFUSED, f"the operator refuses the request: {refused.message}")
        known = refused.reason in set(FaultReason)
        reason = FaultReason(refused.reason) if known else FaultReason.UNAVAILABLE
        raise HistoryError(reason, f"the operator cannot read the history: {refused.message}")

    def _request(self, path: str) -> tuple[int, bytes]:
        is_new = self._http.sock is None
        try:
            if is_new:
                self._http.sock = self._connect()
            self._http.request("GET", path)
            response = self._http.getresponse()
            return response.status, response.read()
        except (HTTPException, OSError, ClusterError) as error:
            self._http.close()
            if is_new or not isinstance(error, HTTPException | OSError | Unreachable):
                raise self._no_connection(error) from error
        # The connection had been used before, and may have been closed since.
        return self._request(path)

    def _connect(self) -> Any:
        pods, _ = self._cluster.list(PODS, self._namespace, OPERATOR)
        if not pods:
            way_out = "install the operator, or name the namespace that it is in: --operator-namespace"
            raise self._no_answer("it has no pods", way_out)
        ready = [pod for pod in pods if _is_ready(pod)]
        if not ready:
            raise self._no_answer(f"0 of {len(pods)} pods are ready", self._kubectl("get pods"))
        for pod in ready[:-1]:
            try:
                return self._forward(pod)
            except ClusterError:
                continue  # its node may be gone: any replica has the whole history
        return self._forward(ready[-1])

    def _forward(self, pod: Json) -> Any:
        return self._cluster.forward(self._namespace, pod["metadata"]["name"], _port(pod))

    def _no_connection(self, error: Exception) -> HistoryError:
        match error:
            case Unauthorized():
                return self._no_answer(f"the API server rejects your credentials: {error}", "log in again")
            case Forbidden():
                way_out = f"ask for the Role {ROLE} in namespace {self._namespace}"
                return self._no_answer(f"permission denied: {error}", way_out)
            case NotForwarded():
                way_out = self._kubectl("logs deployment/kanary")
                return self._no_answer(f"it does not take connections: {error}", way_out)
        return self._no_answer(str(error) or type(error).__name__, self._kubectl("get pods"))

    def _kubectl(self, command: str) -> str:
        return f"see kubectl -n {self._namespace} {command}"

    def _no_answer(self, obstacle: str, way_out: str) -> HistoryError:
        obstacle = " ".join(obstacle.split())
        obstacle = obstacle if len(obstacle) <= _LONGEST else f"{obstacle[: _LONGEST - 1]}…"
        message = (
            f"no history from the operator in namespace {self._namespace} of the cluster at {self._cluster.host}: "
            f"{obstacle}; {way_out}; or read the database itself: --db URL"
        )
        return HistoryError(FaultReason.UNAVAILABLE, message)


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _port(pod: Json) -> int:
    """The port that the pod names `history`, else the usual one."""
    named = (port for container in pod["spec"]["containers"] for port in container.get("ports", ()))
    return next((int(port["containerPort"]) for port in named if port.get("name") == "history"), PORT)
