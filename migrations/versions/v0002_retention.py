"""Retention: what it took is remembered, so that a status that still has it does not bring it back; and indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From a record that only grows."""
    op.create_table(
        "pruned",
        sa.Column("uid", sa.Text, sa.ForeignKey("kanaries.uid"), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_index("changes_by_time", "changes", ["at", "uid", "revision"])
    op.create_index("changes_by_configuration", "changes", ["config_hash"])
    op.create_index("transitions_by_time", "transitions", ["at", "uid", "number"])


def downgrade() -> None:
    """To a record that only grows."""
    op.drop_index("transitions_by_time", "transitions")
    op.drop_index("changes_by_configuration", "changes")
    op.drop_index("changes_by_time", "changes")
    op.drop_table("pruned")
