"""Alerts: which were told in the control room, so that none is told twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "alerts",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("notice", sa.String(255), nullable=False),
        sa.Column("told_ts", sa.BigInteger, nullable=False),
    )
    op.create_index("alerts_told", "alerts", ["told_ts"])
