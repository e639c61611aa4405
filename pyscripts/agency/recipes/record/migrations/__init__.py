"""Alembic revisions of the record of runs."""
