"""The tables of the newest version of the schema, which `migrations/` makes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from engine.model.times import exact_time_text

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

METADATA = sa.MetaData()


class TimeText(TypeDecorator[datetime]):
    """A time as the text that entries have it in: to the millisecond in UTC, so that its order is that of time."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 -- its form
        """As text."""
        return None if value is None else exact_time_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- its form
        """As a time."""
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
    # The last entry that retention has deleted: a status that still has it does not bring it back.
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
    # Of the weight change that the entry is about; null where it is about none.
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
    # Of the last weight change that names it, with which it goes.
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("configurations_by_digest", "digest"),
)
