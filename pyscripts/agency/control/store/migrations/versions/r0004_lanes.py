"""Outbox: a lane for each message, so that answers to operators stand behind no refusals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what waits already goes first."""
    op.add_column("outbox", sa.Column("lane", sa.Integer, nullable=False, server_default="0"))
