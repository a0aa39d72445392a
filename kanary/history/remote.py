"""The record as the operator tells it, asked through the API server's service proxy with the user's own rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from kanary.history import wire
from kanary.history.answers import Refusal
from kanary.history.model import KnownKanary, RecordedChange, RecordedTransition
from kanary.history.operations import ROOT
from kanary.history.parameters import AFTER, HASH, LIMIT_MAX, NAME, NAMESPACE, Parameter
from kanary.history.remote_errors import Failures
from kanary.history.selection import PAGE, BadCursorError, Page, Selection
from kanary.kube.errors import ApiError, ClusterError

S = TypeVar("S", bound=wire.Shape)
T = TypeVar("T")
Query = dict[str, str]

OPERATOR_SERVICE = "kanary"
OPERATOR_PORT = "http"

_BUSY_PAUSES = (0.2, 0.4, 0.8, 1.6)  # seconds before it is asked again while too many others read
_ABOUT_RECORD = {Refusal.UNKNOWN_KANARY, Refusal.UNKNOWN_REVISION, Refusal.UNKNOWN_CONFIGURATION}


class Cluster(Protocol):
    """What is needed of `ClusterClient`."""

    @property
    def host(self) -> str:
        """The API server's URL."""

    def get_raw(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """The JSON object at a path. Raises ClusterError."""


class HttpSource:
    """Implements `Source` over the operator's HTTP API.

    Errors say how it was tried, what is in the way, and that `--db` does without the operator.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        service: str = OPERATOR_SERVICE,
        port: str = OPERATOR_PORT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._failures = Failures(cluster.host, namespace, service)
        self._path = f"/api/v1/namespaces/{quote(namespace, safe='')}/services/{quote(service, safe='')}:{port}/proxy"
        self._pause = pause

    def close(self) -> None:
        """Nothing is open between two calls."""

    def kanaries(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[KnownKanary]:
        """The Kanaries themselves, by namespace, name and uid; whatever the time."""
        below = "" if selection.name is not None else "/kanaries"
        page = self._page(below, selection, _paged(selection, after, limit), wire.KanaryList)
        return Page(tuple(item.record() for item in page.items), page.next) if page else Page((), None)

    def changes(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[RecordedChange]:
        """Changes, the newest first."""
        return self._changes(selection, _paged(selection, after, limit) | _span(selection))

    def in_force(
        self, selection: Selection, at: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedChange]:
        """For each Kanary that existed at that time, the change that was the newest then; a page may be empty."""
        return self._changes(selection, _paged(selection, after, limit) | {"at": _text(at)})

    def transitions(
        self, selection: Selection, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedTransition]:
        """Changes of phase, the newest first."""
        query = _paged(selection, after, limit) | _span(selection)
        page = self._page("/transitions", selection, query, wire.TransitionList)
        return Page(tuple(item.record() for item in page.items), page.next) if page else Page((), None)

    def revision(self, kanary: KnownKanary, revision: int) -> RecordedChange | None:
        """One change of a Kanary, or None."""
        query = {"uid": kanary.uid, "configuration": "false"}
        found = self._get(f"{_of(kanary)}/revisions/{revision}", query, wire.Revision)
        return None if found is None else found.record()

    def revisions(self, kanary: KnownKanary) -> tuple[int, int] | None:
        """The first and the last revision that are kept, or None where none is."""
        found = self._get(f"{_of(kanary)}/revisions", {"uid": kanary.uid}, wire.Revisions)
        return None if found is None or found.first is None or found.last is None else (found.first, found.last)

    def configuration(self, config_hash: str) -> str | None:
        """The text of a configuration, or None where it is not kept."""
        if not _takes(HASH, config_hash):
            return None
        found = self._get(f"configurations/{config_hash}", {}, wire.Configuration)
        return None if found is None else found.text

    def _changes(self, selection: Selection, query: Query) -> Page[RecordedChange]:
        page = self._page("/changes", selection, query, wire.ChangeList)
        return Page(tuple(item.record() for item in page.items), page.next) if page else Page((), None)

    def _page(self, below: str, selection: Selection, query: Query, shape: type[S]) -> S | None:
        named = [(NAMESPACE, selection.namespace), (NAME, selection.name)]
        if not all(text is None or _takes(parameter, text) for parameter, text in named):
            return None  # no Kanary can have that name
        scope = "" if selection.namespace is None else f"namespaces/{selection.namespace}"
        scope += "" if selection.name is None else f"/kanaries/{selection.name}"
        return self._get(f"{scope}{below}".removeprefix("/"), query, shape)

    def _get(self, path: str, query: Query, shape: type[S]) -> S | None:
        """What is at a path below the API's root; None where the record has nothing of what is named."""
        try:
            answer = self._ask(f"{self._path}{ROOT}{path}", query)
        except ApiError as error:
            if error.reason in _ABOUT_RECORD:
                return None
            raise self._failures.told(error) from error
        except ClusterError as error:
            raise self._failures.told(error) from error
        try:
            return shape.model_validate(answer)
        except ValidationError as error:
            raise self._failures.garbled(shape.__name__) from error

    def _ask(self, path: str, query: Query) -> Mapping[str, Any]:
        for pause in _BUSY_PAUSES:
            try:
                return self._cluster.get_raw(path, query)
            except ApiError as error:
                if error.reason != Refusal.BUSY:
                    raise
            self._pause(pause)
        return self._cluster.get_raw(path, query)


def _of(kanary: KnownKanary) -> str:
    return f"namespaces/{quote(kanary.namespace, safe='')}/kanaries/{quote(kanary.name, safe='')}"


def _paged(selection: Selection, after: str | None, limit: int) -> Query:
    query = {"limit": str(min(limit, LIMIT_MAX)), "deleted": str(selection.include_deleted).lower()}
    if after is None:
        return query
    if not _takes(AFTER, after):
        raise BadCursorError(f"{after[:80]!r} is no place to read on from: give what the page before said")
    return query | {"after": after}


def _span(selection: Selection) -> Query:
    return {name: _text(time) for name, time in (("since", selection.since), ("until", selection.until)) if time}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _takes(parameter: Parameter[Any], text: str) -> bool:
    try:
        parameter.read(text)
    except ValueError:
        return False
    return True
