"""The tables of the newest version of the schema, which `migrations/` makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

METADATA = sa.MetaData()


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone, kept in UTC to the microsecond; as text, SQLite's order is that of time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite has no zones: there the time is kept without one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """PostgreSQL answers in the session's zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _uid() -> sa.Column[Any]:
    return sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True)


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, UtcTime, nullable=False)


def _json(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON, nullable=False)


KANARIES = sa.Table(
    "kanaries",
    METADATA,
    sa.Column("uid", sa.Text, primary_key=True),
    _text("namespace"),
    _text("name"),
    _time("first_seen"),
    sa.Column("deleted_at", UtcTime),
    sa.Index("kanaries_by_name", "namespace", "name", "uid"),
)
CHANGES = sa.Table(
    "changes",
    METADATA,
    _uid(),
    _key("revision"),
    _time("at"),
    sa.Column("generation", sa.BigInteger, nullable=False),
    _json("before"),
    _json("after"),
    _text("cause"),
    _text("manager"),
    # No foreign key: a change may be recorded whose configuration is not known any more.
    sa.Column("config_hash", sa.Text),
    _json("endpoints"),
    sa.Index("changes_by_time", "at", "uid", "revision"),
    sa.Index("changes_by_configuration", "config_hash"),
)
OUTCOMES = sa.Table(
    "outcomes",
    METADATA,
    _uid(),
    _key("revision"),
    _text("result"),
    _time("at"),
    sa.Column("seconds", sa.Double, nullable=False),
)
TRANSITIONS = sa.Table(
    "transitions",
    METADATA,
    _uid(),
    _key("number"),
    _time("at"),
    _text("source"),
    _text("destination"),
    _text("trigger"),
    _text("reason"),
    _text("message"),
    sa.Index("transitions_by_time", "at", "uid", "number"),
)
CONFIGURATIONS = sa.Table(
    "configurations",
    METADATA,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("text", sa.LargeBinary, nullable=False),
)
PRUNED = sa.Table(
    "pruned",
    METADATA,
    _uid(),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)
"""Up to which revision and which number retention has taken a Kanary's changes and transitions."""
