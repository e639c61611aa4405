"""Alembic's entry point: runs the revisions on the connection that the caller opened."""

from __future__ import annotations

from alembic import context

from agency.recipes.record.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
context.run_migrations()
