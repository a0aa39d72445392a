"""What is recorded as rows of the tables and back; everything is bounded on the way in."""

from __future__ import annotations

import json
import logging
import zlib
from typing import Any

from sqlalchemy.engine import RowMapping

from engine.model.entries import Configuration, Entry, WeightChange, entry_json
from kanary.history.pending import Pending
from kanary.history.records import KnownKanary

Row = dict[str, Any]

_log = logging.getLogger(__name__)

_TEXT = 4096  # characters of one text
_KIND = 253  # characters; indexed, and PostgreSQL indexes no more than 2,700 bytes
_ENTRY = 256 * 1024  # characters of an entry; 100 routes take 40,000
_ENDPOINTS = 1000  # per backend
_CONFIGURATION = 4 * 1024 * 1024  # no ConfigMap holds half as much


def bounded(value: Any) -> Any:
    """JSON of which each text is at most so long, and one that every database takes: without NUL and valid Unicode."""
    if isinstance(value, str):
        clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        return clean if len(clean) <= _TEXT else f"{clean[: _TEXT - 1]}…"
    if isinstance(value, dict):
        return {bounded(key): bounded(item) for key, item in value.items()}
    return [bounded(item) for item in value] if isinstance(value, list) else value


def kanary_row(pending: Pending) -> Row:
    """The Kanary itself, first seen when its earliest entry was made."""
    return {
        "uid": pending.uid,
        "namespace": bounded(pending.namespace),
        "name": bounded(pending.name),
        "first_seen": min((entry.at for entry in pending.entries), default=pending.at),
    }


def entry_row(uid: str, entry: Entry) -> Row:
    """An entry of any kind. One that is too large is kept without what makes it so."""
    body = bounded(entry_json(entry))
    if (size := len(json.dumps(body))) > _ENTRY:
        _log.error("entry %d of the Kanary with uid %s has %d characters: it is cut", entry.number, uid, size)
        body = {name: item for name, item in body.items() if name in {"number", "at", "kind", "revision"}}
    revision = body.get("revision")
    return {
        "uid": uid,
        "number": entry.number,
        "at": entry.at,
        "kind": bounded(entry.kind)[:_KIND],
        "revision": revision if type(revision) is int else None,
        "body": body,
    }


def configuration_rows(pending: Pending) -> list[Row]:
    """The configurations that a weight change of this Kanary names."""
    changes = [entry for entry in pending.entries if isinstance(entry, WeightChange)]
    numbers = {change.digest: change.number for change in changes}
    return [
        {"uid": pending.uid, "digest": found.digest, "number": numbers[found.digest], "body": _packed(found)}
        for found in pending.configurations
        if found.digest in numbers and len(found.text) <= _CONFIGURATION
    ]


def _packed(configuration: Configuration) -> bytes:
    endpoints = {bounded(name): found[:_ENDPOINTS] for name, found in configuration.endpoints.items()}
    cut = configuration.model_copy(update={"endpoints": endpoints})
    return zlib.compress(cut.model_dump_json(by_alias=True).encode())


def configuration_of(packed: bytes) -> Configuration:
    """A configuration; never more than was ever put in."""
    return Configuration.model_validate_json(zlib.decompressobj().decompress(packed, 4 * _CONFIGURATION))


def kanary_of(row: RowMapping) -> KnownKanary:
    """A Kanary from its row."""
    return KnownKanary.model_validate(dict(row))
