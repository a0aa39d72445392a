"""Entries as rows of the tables and back; every text is bounded on the way in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import RowMapping

from kanary.history.model import (
    Change,
    Configuration,
    Entry,
    KnownKanary,
    Outcome,
    Result,
    Route,
    Transition,
    Weight,
)

Row = dict[str, Any]

_WORD = 128  # characters of a trigger, a reason, a field manager
_NAME = 253  # of a name, as Kubernetes bounds them
_CAUSE = 1024
_MESSAGE = 4096
_ENDPOINTS = 1000  # per route
_CONFIGURATION = 4 * 1024 * 1024  # no ConfigMap holds half as much
KEPT_CONFIGURATIONS = 16
"""Of a Kanary, while the database is away."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What is to be recorded of one Kanary."""

    uid: str
    entry: Entry | None = None
    configurations: tuple[Configuration, ...] = ()
    """Of its last entries: only the newest is in the newest entry."""
    deleted_at: datetime | None = None

    def followed_by(self, newer: Pending) -> Pending:
        """Both in one: the newer entry has all that the older one has, but for its configuration."""
        configurations = {c.hash: c for c in (*self.configurations, *newer.configurations)}
        return replace(
            newer,
            entry=newer.entry or self.entry,
            configurations=tuple(configurations.values())[-KEPT_CONFIGURATIONS:],
            deleted_at=self.deleted_at or newer.deleted_at,
        )


def pending_entry(entry: Entry) -> Pending:
    """An entry, as it waits."""
    return Pending(entry.uid, entry, (entry.configuration,) if entry.configuration else ())


def cut(text: str | None, limit: int) -> str:
    """A text of at most so many characters that every database takes: without NUL, and valid Unicode."""
    clean = (text or "").replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def kanary_row(entry: Entry) -> Row:
    """The Kanary itself, first seen when the earliest that is told of it happened."""
    times = [*(change.at for change in entry.changes), *(transition.at for transition in entry.transitions)]
    return {
        "uid": entry.uid,
        "namespace": cut(entry.namespace, _NAME),
        "name": cut(entry.name, _NAME),
        "first_seen": min(times, default=None) or datetime.now(UTC),
        "deleted_at": None,
    }


def change_row(uid: str, change: Change) -> Row:
    """A change."""
    return {
        "uid": uid,
        "revision": change.revision,
        "at": change.at,
        "generation": change.generation,
        "before": [{"backend": cut(w.backend, _NAME), "weight": w.weight} for w in change.before],
        "after": [
            {
                "backend": cut(r.backend, _NAME),
                "serviceName": cut(r.service_name, _NAME),
                "servicePort": cut(r.service_port, _NAME) if isinstance(r.service_port, str) else r.service_port,
                "weight": r.weight,
            }
            for r in change.after
        ],
        "cause": cut(change.cause, _CAUSE),
        "manager": cut(change.manager, _WORD),
        "config_hash": cut(change.config_hash, _WORD) if change.config_hash else None,
        "endpoints": [_endpoints(route) for route in change.endpoints],
    }


def _endpoints(route: tuple[str, ...]) -> list[str]:
    kept = [cut(endpoint, _NAME) for endpoint in route[:_ENDPOINTS]]
    return kept if len(route) <= _ENDPOINTS else [*kept, f"and {len(route) - _ENDPOINTS} more"]


def outcome_row(uid: str, outcome: Outcome) -> Row:
    """What came of a change."""
    return {
        "uid": uid,
        "revision": outcome.revision,
        "result": cut(outcome.result, _WORD),
        "at": outcome.at,
        "seconds": outcome.seconds,
    }


def transition_row(uid: str, transition: Transition) -> Row:
    """A change of phase."""
    return {
        "uid": uid,
        "number": transition.number,
        "at": transition.at,
        "source": cut(transition.source, _WORD),
        "destination": cut(transition.destination, _WORD),
        "trigger": cut(transition.trigger, _WORD),
        "reason": cut(transition.reason, _WORD),
        "message": cut(transition.message, _MESSAGE),
    }


def configuration_rows(pending: Iterable[Pending]) -> list[Row]:
    """The configurations that a change of the same Kanary names, each once, compressed."""
    rows = {}
    for waiting in pending:
        named = {change.config_hash for change in waiting.entry.changes} if waiting.entry else set()
        for configuration in waiting.configurations:
            if configuration.hash in named and len(configuration.text) <= _CONFIGURATION:
                text = zlib.compress(configuration.text.encode("utf-8", "replace"))
                rows[configuration.hash] = {"hash": cut(configuration.hash, _WORD), "text": text}
    return [rows[key] for key in sorted(rows)]


def kanary_of(row: RowMapping) -> KnownKanary:
    """A Kanary from its row."""
    return KnownKanary(row["uid"], row["namespace"], row["name"], row["first_seen"], row["deleted_at"])


def change_of(row: RowMapping) -> Change:
    """A change from its row."""
    return Change(
        revision=row["revision"],
        at=row["at"],
        generation=row["generation"],
        before=tuple(Weight(w["backend"], w["weight"]) for w in row["before"]),
        after=tuple(Route(r["backend"], r["weight"], r["serviceName"], r["servicePort"]) for r in row["after"]),
        cause=row["cause"],
        manager=row["manager"],
        config_hash=row["config_hash"],
        endpoints=tuple(tuple(route) for route in row["endpoints"]),
    )


def outcome_of(row: RowMapping) -> Outcome | None:
    """What came of a change, from the row of the two together."""
    if row["outcome_result"] is None:
        return None
    return Outcome(row["revision"], Result(row["outcome_result"]), row["outcome_at"], row["outcome_seconds"])


def transition_of(row: RowMapping) -> Transition:
    """A transition from its row."""
    return Transition(
        number=row["number"],
        at=row["at"],
        source=row["source"],
        destination=row["destination"],
        trigger=row["trigger"],
        reason=row["reason"],
        message=row["message"],
    )


def configuration_text(packed: bytes) -> str:
    """A configuration's text; never more than was ever put in."""
    return zlib.decompressobj().decompress(packed, 4 * _CONFIGURATION).decode("utf-8", "replace")
