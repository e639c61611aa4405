"""Agents: a handle, whose form the runtime chooses, in place of the pid."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, copy the pids into it as text, and drop their column."""
    op.add_column("agents", sa.Column("handle", sa.String(255)))
    agents = sa.table("agents", sa.column("handle", sa.String), sa.column("pid", sa.Integer))
    op.execute(agents.update().values(handle=sa.cast(agents.c.pid, sa.String(255))))
    op.drop_column("agents", "pid")
