"""Agents that a command made, and what the reconciler remembers of each agent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "agent_histories",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("wished_ts", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("trace", sa.String(64), nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("given_up", sa.Integer, nullable=False),
    )
    op.create_table(
        "created_agents",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(64), nullable=False),
        sa.Column("template", sa.String(64), nullable=False),
        sa.Column("variables", sa.Text, nullable=False),
        sa.Column("matrix_id", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("created_ts", sa.BigInteger, nullable=False),
        sa.Column("deleted_ts", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("created_agents_name", "created_agents", ["name"])
