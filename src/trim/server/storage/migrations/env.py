"""Run by Alembic, on the connection that `trim.server.storage.database` holds."""

from alembic import context

from trim.server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
