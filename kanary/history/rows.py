"""What is recorded as rows of the tables and back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import RowMapping

from engine.model.entries import Configuration, Entry, WeightChange, entry_json
from kanary.history.pending import Pending
from kanary.history.records import KnownKanary

Row = dict[str, Any]

_TEXT = 4096  # characters of one text
_KIND = 253  # characters; indexed, and PostgreSQL indexes no more than 2,700 bytes


def kanary_row(pending: Pending) -> Row:
    """The Kanary itself, first seen when its earliest entry was made."""
    first_seen = min((entry.at for entry in pending.entries), default=pending.at)
    return {"uid": pending.uid, "namespace": pending.namespace, "name": pending.name, "first_seen": first_seen}


def entry_row(uid: str, entry: Entry) -> Row:
    """An entry of any kind."""
    body = _storable(entry_json(entry))
    revision = body.get("revision")
    return {
        "uid": uid,
        "number": entry.number,
        "at": entry.at,
        "kind": _storable(entry.kind)[:_KIND],
        "revision": revision if type(revision) is int else None,
        "body": body,
    }


def configuration_rows(uid: str, entries: Sequence[Entry], configurations: Sequence[Configuration]) -> list[Row]:
    """The configurations that a weight change names, each with the number of the last one that does."""
    numbers = {entry.digest: entry.number for entry in entries if isinstance(entry, WeightChange)}
    return [
        {
            "uid": uid,
            "digest": found.digest,
            "number": numbers[found.digest],
            "body": zlib.compress(found.model_dump_json(by_alias=True).encode()),
        }
        for found in configurations
        if found.digest in numbers
    ]


def configuration_of(packed: bytes) -> Configuration:
    """A configuration from the body of its row."""
    return Configuration.model_validate_json(zlib.decompress(packed))


def kanary_of(row: RowMapping) -> KnownKanary:
    """A Kanary from its row."""
    return KnownKanary.model_validate(dict(row))


def _storable(value: Any) -> Any:
    """JSON that every database takes, without NUL and in valid Unicode, with each text cut to so many characters."""
    if isinstance(value, str):
        clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        return clean if len(clean) <= _TEXT else f"{clean[: _TEXT - 1]}…"
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value
