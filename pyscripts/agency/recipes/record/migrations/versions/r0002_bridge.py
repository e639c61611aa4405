"""Memory of the comment bridge: how far it has looked, and which comments it has settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "bridge_looks",
        sa.Column("project", sa.String(255), primary_key=True),
        sa.Column("first_s", sa.BigInteger, nullable=False),
        sa.Column("cursor_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "bridge_comments",
        sa.Column("project", sa.String(255), primary_key=True),
        sa.Column("comment", sa.BigInteger, primary_key=True),
        sa.Column("pull_request", sa.BigInteger, nullable=False),
        sa.Column("author", sa.String(255), nullable=False),
        sa.Column("created_s", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("run", sa.String(16)),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
        sa.Column("reply", sa.Text, nullable=False, server_default=""),
        sa.Column("state", sa.String(16), nullable=False),
    )
    op.create_index("bridge_comments_by_state", "bridge_comments", ["state", "project"])
