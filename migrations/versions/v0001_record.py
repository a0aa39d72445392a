"""The first schema: Kanaries, the entries of each, and the configurations of its weight changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "kanaries",
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("first_seen", sa.Text, nullable=False),
        sa.Column("deleted_at", sa.Text),
        sa.Column("pruned", sa.BigInteger, nullable=False),
    )
    op.create_index("kanaries_by_name", "kanaries", ["namespace", "name", "uid"])
    op.create_table(
        "entries",
        sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_index("entries_by_time", "entries", ["at", "uid", "number", "kind"])
    op.create_index("entries_by_revision", "entries", ["uid", "kind", "revision", "number"])
    op.create_table(
        "configurations",
        sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("configurations_by_digest", "configurations", ["digest"])
