"""Operations, and the approvals that were granted to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the two tables; events that wait in the inbox stay there."""
    op.create_table(
        "operations",
        sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("origin_kind", sa.String(16), nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rule", sa.String(64)),
        sa.Column("deadline_ts", sa.BigInteger, nullable=False),
        sa.Column("created_ts", sa.BigInteger, nullable=False),
        sa.Column("changed_ts", sa.BigInteger, nullable=False),
        sa.Column("trace", sa.String(64), nullable=False),
        sa.Column("replies", sa.Integer, nullable=False),
        sa.Column("answer", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("operations_state", "operations", ["state", "sequence"])
    op.create_table(
        "grants",
        sa.Column("operation_id", sa.String(64), primary_key=True),
        sa.Column("granted_by", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("granted_ts", sa.BigInteger, nullable=False),
        sa.Column("spent_ts", sa.BigInteger),
    )
