"""The record: Kanaries, their changes of weight and of phase, what came of them, and the configurations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "kanaries",
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("first_seen", _TIME, nullable=False),
        sa.Column("deleted_at", _TIME),
    )
    op.create_index("kanaries_by_name", "kanaries", ["namespace", "name", "uid"])
    op.create_table(
        "changes",
        sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("manager", sa.Text, nullable=False),
        sa.Column("config_hash", sa.Text),
        sa.Column("endpoints", sa.JSON, nullable=False),
    )
    op.create_table(
        "outcomes",
        sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
    )
    op.create_table(
        "transitions",
        sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_table(
        "configurations",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("text", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """To nothing; the record is lost."""
    for table in ("configurations", "transitions", "outcomes", "changes", "kanaries"):
        op.drop_table(table)
