"""Run by Alembic on the connection of `trim.server.storage.database`."""

from alembic import context

from trim.server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
