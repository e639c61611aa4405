"""Gosuto: the versions of each agent's document, and documents that were handed in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "gosuto_versions",
        sa.Column("agent", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("author", sa.String(255), nullable=False),
        sa.Column("created_ts", sa.BigInteger, nullable=False),
        sa.Column("trace", sa.String(64), nullable=False),
        sa.Column("made_by", sa.String(255), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "gosuto_documents",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("kept_ts", sa.BigInteger, nullable=False),
    )
