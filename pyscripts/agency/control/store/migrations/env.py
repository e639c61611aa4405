"""Alembic's entry: run the revisions on the connection that the caller opened."""

from __future__ import annotations

from alembic import context

from agency.control.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
# The caller's transaction holds all of it: either every revision is applied, or none.
context.run_migrations()
