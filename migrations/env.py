"""The Alembic environment: migrates on the given connection, inside its open transaction."""

from alembic import context

from migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    # Off by default on SQLite, where a failed migration would then leave half of its tables.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
