"""Reads the history from the operator's HTTP API, through a port-forward with the user's own rights."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError

from engine.model.entries import Configuration
from engine.model.shape import Shape
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, ConfigurationQuery, EntryQuery, KanaryQuery
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry
from kanary.history.wire import PORT, ROOT, Refusal, Refused
from kanary.kube.errors import ClusterError, Forbidden, NotForwarded, Unauthorized, Unreachable
from kanary.kube.pods import is_ready, port_of
from kanary.kube.resources import PODS

if TYPE_CHECKING:  # loads the official client, which only the caller needs
    from kanary.kube.client import ClusterClient

S = TypeVar("S", bound=Shape)

OPERATOR = "app.kubernetes.io/name=kanary"
"""Labels of the operator's pods."""

_LONGEST = 500  # characters of another program's message
_OTHER_VERSION = "use the kanary of the operator's version"
_SEE_PODS = "see kubectl -n {} get pods"
_CAUSES = {
    Unauthorized: ("the API server rejects your credentials", "log in again"),
    Forbidden: ("permission denied", "ask for the Role kanary-viewer in namespace {}"),
    NotForwarded: ("it does not take connections", "see kubectl -n {} logs deployment/kanary"),
}
"""Why no connection is possible, and what to do, by the type of the error."""


class HttpSource:
    """Implements `Source` with the operator's HTTP API, on one connection.

    Error messages name the operator's namespace and cluster, the cause, what to do, and `--db` as the alternative.
    """

    def __init__(self, cluster: ClusterClient, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._http = HTTPConnection("localhost")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def kanaries(self, query: KanaryQuery) -> Page[KanarySummary]:
        """Kanaries, sorted by namespace, name and uid."""
        return self._get("kanaries", query, Page[KanarySummary])

    def changes(self, query: ChangeQuery) -> Page[RecordedChange]:
        """Weight changes, newest first: with a name or uid by number, the existing Kanary first, otherwise by time."""
        return self._get("changes", query, Page[RecordedChange])

    def entries(self, query: EntryQuery) -> Page[RecordedEntry]:
        """Entries, in the order of `changes`."""
        return self._get("entries", query, Page[RecordedEntry])

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None if the history does not have it."""
        found = self._get("configurations", ConfigurationQuery(digest=digest), Page[Configuration])
        return next(iter(found.items), None)

    def _get(self, path: str, query: BaseModel, shape: type[S]) -> S:
        """The response to a GET of a path below the API's root."""
        parameters = urlencode(query.model_dump(mode="json", exclude_defaults=True))
        status, body = self._request(f"{ROOT}/{path}?{parameters}")
        try:
            if status == HTTPStatus.OK:
                return shape.model_validate_json(body, by_alias=True)
            refused = Refused.model_validate_json(body)
        except ValidationError as error:
            obstacle = f"its answer is no {shape.__name__} that this version can read"
            raise self._no_answer(obstacle, _OTHER_VERSION) from error
        match refused.reason:
            case Refusal.UNKNOWN_PATH:
                raise self._no_answer("it does not serve this part of the history", _OTHER_VERSION)
            case Refusal.BAD_PARAMETER:
                raise HistoryError(FaultReason.REFUSED, f"the operator refuses the request: {refused.message}")
        reason = FaultReason(refused.reason) if refused.reason in set(FaultReason) else FaultReason.UNAVAILABLE
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
        # The connection was used before and may have been closed since: retry on a new one.
        return self._request(path)

    def _connect(self) -> Any:
        pods, _ = self._cluster.list(PODS, self._namespace, OPERATOR)
        if not pods:
            way_out = "install the operator, or name the namespace that it is in: --operator-namespace"
            raise self._no_answer("it has no pods", way_out)
        ready = [pod for pod in pods if is_ready(pod)]
        if not ready:
            raise self._no_answer(f"0 of {len(pods)} pods are ready", _SEE_PODS)
        for pod in ready:
            try:
                return self._cluster.forward(self._namespace, pod["metadata"]["name"], port_of(pod, "history", PORT))
            except ClusterError as error:
                failure = error  # such as a lost node; every other replica serves the whole history as well
        raise failure

    def _no_connection(self, error: Exception) -> HistoryError:
        for kind, (obstacle, way_out) in _CAUSES.items():
            if isinstance(error, kind):
                return self._no_answer(f"{obstacle}: {error}", way_out)
        return self._no_answer(str(error) or type(error).__name__, _SEE_PODS)

    def _no_answer(self, obstacle: str, way_out: str) -> HistoryError:
        obstacle = shorten(obstacle, _LONGEST, placeholder="…")
        message = (
            f"no history from the operator in namespace {self._namespace} of the cluster at {self._cluster.host}: "
            f"{obstacle}; {way_out.format(self._namespace)}; or read the database itself: --db URL"
        )
        return HistoryError(FaultReason.UNAVAILABLE, message)
