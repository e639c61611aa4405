"""Runs: what was ordered, how far it is, and how it ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        # Orders the queue; a clock that jumps must not.
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(16), nullable=False, unique=True),
        sa.Column("recipe", sa.String(64), nullable=False),
        sa.Column("project", sa.String(255), nullable=False),
        sa.Column("pull_request", sa.BigInteger, nullable=False),
        sa.Column("commit_sha", sa.String(64), nullable=False),
        sa.Column("head_ref", sa.String(255), nullable=False),
        sa.Column("clone_url", sa.String(1000), nullable=False),
        sa.Column("stages", sa.String(255), nullable=False),
        sa.Column("requester", sa.String(255), nullable=False),
        sa.Column("comment", sa.BigInteger),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("stop_asked_by", sa.String(255)),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("queued_ts", sa.BigInteger, nullable=False),
        sa.Column("started_ts", sa.BigInteger),
        sa.Column("ended_ts", sa.BigInteger),
        sa.Column("engine", sa.String(16), nullable=False, server_default=""),
        sa.Column("engine_build", sa.String(64), nullable=False, server_default=""),
        sa.Column("engine_url", sa.String(1000), nullable=False, server_default=""),
        sa.Column("result", sa.Text),
        sa.Column("answer", sa.BigInteger),
        sa.Column("told", sa.String(16), nullable=False, server_default=""),
        # One comment is one run, by whichever way it was seen.
        sa.UniqueConstraint("project", "comment"),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_state", "runs", ["state", "sequence"])
    op.create_index("runs_by_recipe", "runs", ["recipe", "sequence"])
