"""The history as the operator serves it, over a port that is forwarded with the reader's own rights."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from pydantic import ValidationError

from engine.model.entries import Configuration
from engine.model.shape import Shape
from kanary.history.records import KnownKanary, Page, RecordedChange, RecordedEntry
from kanary.history.remote_errors import NoAnswer
from kanary.history.selection import PAGE, Selection
from kanary.history.wire import LIMIT_MAX, PORT, ROOT, Refusal, Refused, Revisions
from kanary.kube.errors import ClusterError, Unreachable
from kanary.kube.resources import PODS, Json, Resource

S = TypeVar("S", bound=Shape)
Query = dict[str, Any]

OPERATOR = "app.kubernetes.io/name=kanary"
"""Labels of the operator's pods."""

_MISSING = {Refusal.UNKNOWN_KANARY, Refusal.UNKNOWN_REVISION, Refusal.UNKNOWN_CONFIGURATION}


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
        self._no_answer = NoAnswer(cluster.host, namespace)
        self._http = _Forwarded(self._connect)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def kanaries(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[KnownKanary]:
        """The Kanaries themselves, by namespace, name and uid; whatever the time."""
        query = _query(replace(selection, since=None, until=None), after, limit)
        return self._get("kanaries", query, Page[KnownKanary]) or Page(items=())

    def changes(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[RecordedChange]:
        """Weight changes, the newest first."""
        return self._get("changes", _query(selection, after, limit), Page[RecordedChange]) or Page(items=())

    def entries(
        self, selection: Selection, after: str | None = None, limit: int = PAGE, kinds: frozenset[str] | None = None
    ) -> Page[RecordedEntry]:
        """Entries of these kinds, or of every kind, the newest first."""
        query = _query(selection, after, limit) | ({"kinds": ",".join(sorted(kinds))} if kinds else {})
        return self._get("entries", query, Page[RecordedEntry]) or Page(items=())

    def in_force(
        self, selection: Selection, at: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedChange]:
        """For each Kanary that existed at that time, the weight change that was the newest then."""
        query = _query(replace(selection, since=None, until=None), after, limit) | {"at": _text(at)}
        return self._get("in-force", query, Page[RecordedChange]) or Page(items=())

    def revision(self, kanary: KnownKanary, revision: int) -> RecordedChange | None:
        """One weight change of a Kanary, or None."""
        return self._get("revision", _of(kanary) | {"revision": revision}, RecordedChange)

    def revisions(self, kanary: KnownKanary) -> tuple[int, int] | None:
        """The first and the last revision that are kept, or None where none is."""
        found = self._get("revisions", _of(kanary), Revisions)
        return None if found is None or found.first is None or found.last is None else (found.first, found.last)

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None where it is not kept."""
        return self._get("configuration", {"digest": digest}, Configuration)

    def _get(self, path: str, query: Query, shape: type[S]) -> S | None:
        """What is at a path below the API's root; None where the record has nothing of what is named."""
        try:
            status, body = self._ask(f"{ROOT}/{path}?{urlencode(query)}")
            if status == HTTPStatus.OK:
                return shape.model_validate_json(body, by_alias=True)
            refused = Refused.model_validate_json(body)
        except ValidationError as error:
            raise self._no_answer.of_another_version(shape.__name__) from error
        if refused.reason in _MISSING:
            return None
        raise self._no_answer.refused(refused)

    def _ask(self, path: str) -> tuple[int, bytes]:
        is_new = self._http.sock is None
        try:
            self._http.request("GET", path)
            response = self._http.getresponse()
            return response.status, response.read()
        except (HTTPException, OSError, ClusterError) as error:
            self._http.close()
            if is_new or not isinstance(error, HTTPException | OSError | Unreachable):
                raise self._no_answer.because(error) from error
        # The connection had been used before, and may have been closed since.
        return self._ask(path)

    def _connect(self) -> Any:
        pods, _ = self._cluster.list(PODS, self._namespace, OPERATOR)
        if not pods:
            raise self._no_answer.without_pods()
        if not (ready := [pod for pod in pods if _is_ready(pod)]):
            raise self._no_answer.without_ready_pods(len(pods))
        for pod in ready[:-1]:
            try:
                return self._forward(pod)
            except ClusterError:
                continue  # its node may be gone: any replica has the whole history
        return self._forward(ready[-1])

    def _forward(self, pod: Json) -> Any:
        return self._cluster.forward(self._namespace, pod["metadata"]["name"], _port(pod))


class _Forwarded(HTTPConnection):
    """HTTP over a connection that somebody else makes."""

    def __init__(self, dial: Any) -> None:
        super().__init__("localhost")
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial()


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _port(pod: Json) -> int:
    """The port that the pod names `history`, else the usual one."""
    named = (port for container in pod["spec"]["containers"] for port in container.get("ports", ()))
    return next((int(port["containerPort"]) for port in named if port.get("name") == "history"), PORT)


def _of(kanary: KnownKanary) -> Query:
    return {"namespace": kanary.namespace, "name": kanary.name, "uid": kanary.uid}


def _query(selection: Selection, after: str | None, limit: int) -> Query:
    query = {
        "namespace": selection.namespace,
        "name": selection.name,
        "deleted": str(selection.include_deleted).lower(),
        "since": selection.since and _text(selection.since),
        "until": selection.until and _text(selection.until),
        "limit": min(limit, LIMIT_MAX),
        "after": after,
    }
    return {name: value for name, value in query.items() if value is not None}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
