"""Approvals: what an operation was planned on, and a way from a message to its operation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the index; what waits already was planned on nothing in particular."""
    basis = sa.Column("basis", sa.String(64), nullable=False, server_default="")
    op.add_column("operations", basis)
    op.create_index("outbox_event", "outbox", ["event_id"])
