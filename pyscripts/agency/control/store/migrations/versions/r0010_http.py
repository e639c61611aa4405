"""Tokens of people for the HTTP interface, and the reports of commands that came from no room."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("person", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("made_by", sa.String(255), nullable=False),
        sa.Column("made_ts", sa.BigInteger, nullable=False),
        sa.Column("expires_ts", sa.BigInteger, nullable=False),
        sa.Column("revoked_ts", sa.BigInteger),
        sa.Column("revoked_by", sa.String(255)),
    )
    op.create_table(
        "reports",
        sa.Column("operation_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("told_ts", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
