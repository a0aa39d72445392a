"""The history's schema: an Alembic environment, and one module for each version in `versions/`.

A new version is a module with the next number, which migrates from the previous version, and its number at the end of
`VERSIONS`. `tests/history/test_migrations.py` then migrates databases with data from every version to the newest, on
SQLite and on PostgreSQL.
"""

VERSIONS = ("0001",)
"""From the oldest to the newest: available without loading Alembic, which only a migration needs."""

VERSION_TABLE = "kanary_history_version"
"""Not Alembic's own name, which another program may use in the same PostgreSQL database."""
