"""The tables of the newest schema, which `migrations/` creates, and the conversion of their rows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.types import TypeDecorator

from engine.model.entries import Configuration, Entry, WeightChange, entry_json
from engine.model.times import exact_time_text
from kanary.history.records import KnownKanary

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

Row = dict[str, Any]

METADATA = sa.MetaData()
_TEXT = 4096  # characters of one text
_KIND = 253  # characters; PostgreSQL indexes at most 2,700 bytes


class TimeText(TypeDecorator[datetime]):
    """A time as text, in the format of entries: UTC in milliseconds, so that text sorts by time."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 -- its form
        """Convert a time to text."""
        return None if value is None else exact_time_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- its form
        """Convert text to a time."""
        return None if value is None else datetime.fromisoformat(value)


def _uid() -> sa.Column[Any]:
    return sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True)


KANARIES = sa.Table(
    "kanaries",
    METADATA,
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("first_seen", TimeText, nullable=False),
    sa.Column("deleted_at", TimeText),
    # Number of the last pruned entry: entries up to it are not recorded again, even if the status still has them.
    sa.Column("pruned", sa.BigInteger, nullable=False, default=0),
    sa.Index("kanaries_by_name", "namespace", "name", "uid"),
)
ENTRIES = sa.Table(
    "entries",
    METADATA,
    _uid(),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", TimeText, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # Revision of the weight change to which the entry belongs; null if it belongs to none.
    sa.Column("revision", sa.BigInteger),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("entries_by_time", "at", "uid", "number", "kind"),
    sa.Index("entries_by_revision", "uid", "kind", "revision", "number"),
)
CONFIGURATIONS = sa.Table(
    "configurations",
    METADATA,
    _uid(),
    sa.Column("digest", sa.Text, primary_key=True),
    # Number of the last weight change that names the configuration; both are pruned together.
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("configurations_by_digest", "digest"),
)


def entry_row(uid: str, entry: Entry) -> Row:
    """The row of an entry of any kind."""
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
    """Rows of the configurations that weight changes name, each with the number of the last such change."""
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
    """JSON that every database accepts: valid Unicode without NUL, with each text cut to `_TEXT` characters."""
    if isinstance(value, str):
        clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        return clean if len(clean) <= _TEXT else f"{clean[: _TEXT - 1]}…"
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value
