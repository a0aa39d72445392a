"""`kanary events`: the Events of a Kanary and of its objects, in the order in which they happened."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.last_status import read_status
from engine.model.shape import Shape, Time
from engine.model.times import read_time
from engine.render.objects import Identity
from kanary.cli.failure import note
from kanary.cli.live import live_kanary
from kanary.cli.output import Form, document, json_text, write, yaml_text
from kanary.cli.times import local_text
from kanary.kube.errors import ApiError, Forbidden, Gone, Unauthorized, Unreachable
from kanary.kube.resources import EVENTS, Json

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_WATCH_SECONDS = 300
_PAUSE_SECONDS = 2.0
"""Before the cluster is read again after an error."""
_EVENT_DELAY = timedelta(minutes=1)
"""How long after a move its Event may be written."""
_OWN_KINDS = ("Deployment", "ConfigMap", "PodDisruptionBudget")
_GENERATED = {"ReplicaSet": "-[a-z0-9]{4,12}", "Pod": "-[a-z0-9]{4,12}-[a-z0-9]{5}", "ConfigMap": "-[0-9a-f]{8,64}"}
"""What Kubernetes or Kanary appends to the name of the proxies' Deployment. Pods that are gone have Events as well."""


class KanaryEvent(Shape):
    """An Event of a Kanary or of one of its objects."""

    time: Time
    """When it happened last."""
    first: Time
    """When it happened first."""
    count: int
    type: str
    """Normal or Warning."""
    reason: str
    object: str
    """Kind and name."""
    message: str
    source: str
    """The component that reports it."""


_COLUMNS = Form(
    cells={
        "WHEN": lambda event: local_text(event.time),
        "TYPE": lambda event: event.type,
        "REASON": lambda event: event.reason,
        "OBJECT": lambda event: event.object,
        "MESSAGE": lambda event: event.message + _repeated(event),
    },
    parts={},
)


class EventFilter:
    """Which Events of a namespace are about a Kanary."""

    def __init__(self, kanary: Json, since: datetime | None = None) -> None:
        metadata = kanary["metadata"]
        self._owner = Identity(metadata["namespace"], metadata["name"], metadata["uid"])
        self._destination = str((kanary.get("spec") or {}).get("destination") or "")
        self._created = read_time(metadata.get("creationTimestamp"))
        self._since = since

    def read(self, raw: Json) -> tuple[tuple[datetime, int], KanaryEvent] | None:
        """The Event with its place in the order, or None if it is about something else, or has no usable time."""
        involved = raw.get("involvedObject") or {}
        if not self._is_about(involved):
            return None
        series = raw.get("series") or {}
        made = read_time((raw.get("metadata") or {}).get("creationTimestamp"))
        first = read_time(raw.get("firstTimestamp")) or read_time(raw.get("eventTime")) or made
        last = read_time(series.get("lastObservedTime")) or read_time(raw.get("lastTimestamp")) or first
        if first is None or last is None or (self._since and last < self._since):
            return None
        if involved.get("kind") != "Kanary" and self._created and last < self._created:
            # Of the objects of an earlier Kanary with this name.
            return None
        event = KanaryEvent(
            time=last,
            first=first,
            count=_whole(series.get("count") or raw.get("count")),
            type=str(raw.get("type") or ""),
            reason=str(raw.get("reason") or ""),
            object=f"{involved.get('kind')}/{involved.get('name')}",
            message=str(raw.get("message") or ""),
            source=str(raw.get("reportingComponent") or (raw.get("source") or {}).get("component") or ""),
        )
        return (last.replace(microsecond=0), _nanoseconds(raw)), event

    def _is_about(self, involved: Json) -> bool:
        kind, name = str(involved.get("kind")), str(involved.get("name"))
        if kind == "Kanary":
            return involved.get("uid") == self._owner.uid
        if kind == "Service":
            return name == self._destination
        proxies = self._owner.proxy_name
        if name == proxies:
            return kind in _OWN_KINDS
        return kind in _GENERATED and re.fullmatch(re.escape(proxies) + _GENERATED[kind], name) is not None


def events(
    client: ClusterClient, namespace: str, name: str, output: str, since: datetime | None, *, is_watched: bool
) -> None:
    """Print the Events. Raises CommandError if there is no such Kanary, and ClusterError."""
    kanary = live_kanary(client, namespace, name)
    found = EventFilter(kanary, since)
    if is_watched:
        _write_stream(output, _followed(client, namespace, found))
        return
    shown, _ = read_events(client, namespace, found)
    write(output, _COLUMNS, iter([shown]), sys.stdout)
    _note_earlier(kanary, shown, since)


def read_events(client: ClusterClient, namespace: str, found: EventFilter) -> tuple[Sequence[KanaryEvent], str]:
    """The Events, oldest first, and the version from which they can be watched. Raises ClusterError."""
    known, version = client.list_as(EVENTS, found.read, namespace)
    return [event for _, event in sorted(filter(None, known), key=lambda each: each[0])], version


def _note_earlier(kanary: Json, shown: Sequence[KanaryEvent], since: datetime | None) -> None:
    """Clusters delete Events, by default after an hour: say where earlier moves are."""
    status = read_status(kanary).history
    moves = [entry.at for entry in (status.entries if status else ()) if since is None or entry.at >= since]
    oldest = min((event.first for event in shown if event.object.startswith("Kanary/")), default=None)
    namespace, name = kanary["metadata"]["namespace"], kanary["metadata"]["name"]
    gone = [] if shown else [f"{name} has no Events: clusters delete them, by default after an hour"]
    if moves and (oldest is None or min(moves) + _EVENT_DELAY < oldest):
        gone += [] if gone else ["earlier Events have expired"]
        gone.append(f"the history has every move: kanary history -n {namespace} {name} --transitions")
    if gone:
        note("; ".join(gone))


def _followed(client: ClusterClient, namespace: str, found: EventFilter) -> Iterator[Sequence[KanaryEvent]]:
    """The Events so far, and then each one that happens, also again after the cluster could not be read."""
    seen = set[tuple[str, str, datetime, int]]()

    def is_new(event: KanaryEvent) -> bool:
        key = event.object, event.reason + event.message, event.time, event.count
        is_known = key in seen
        seen.add(key)
        return not is_known

    is_away = False
    while True:
        try:
            so_far, version = read_events(client, namespace, found)
            yield [event for event in so_far if is_new(event)]
            is_away = False
            watch = client.watch(EVENTS, version, namespace=namespace, timeout_seconds=_WATCH_SECONDS)
            with watch:
                for kind, raw in watch:
                    read = found.read(raw) if kind in ("ADDED", "MODIFIED") else None
                    if read and is_new(read[1]):
                        yield [read[1]]
        except (Forbidden, Unauthorized):
            raise
        except Gone:
            continue
        except (Unreachable, ApiError) as error:
            if not is_away:
                note(f"{error}; trying again")
            is_away = True
            time.sleep(_PAUSE_SECONDS)


def _write_stream(output: str, pages: Iterator[Sequence[KanaryEvent]]) -> None:
    if output == "table":
        write(output, _COLUMNS, _flushed(pages), sys.stdout)
        return
    text: Callable[[KanaryEvent], str] = (
        (lambda event: json_text(document(event), sys.stdout) + "\n")
        if output == "json"
        else (lambda event: "---\n" + yaml_text(document(event), sys.stdout))
    )
    for page in pages:
        sys.stdout.writelines(map(text, page))
        sys.stdout.flush()


def _flushed(pages: Iterator[Sequence[KanaryEvent]]) -> Iterator[Sequence[KanaryEvent]]:
    """The pages; each one is printed before the next one is awaited."""
    for page in pages:
        yield page
        sys.stdout.flush()


def _repeated(event: KanaryEvent) -> str:
    return f" ({event.count} times since {local_text(event.first)})" if event.count > 1 else ""


def _nanoseconds(raw: Json) -> int:
    """The time in the name of an Event, as Kubernetes' components and Kanary write it; times have whole seconds."""
    try:
        return int(str(raw["metadata"]["name"]).rpartition(".")[2], 16)
    except (KeyError, TypeError, ValueError):
        return 0


def _whole(count: object) -> int:
    return count if isinstance(count, int) and count > 0 else 1
