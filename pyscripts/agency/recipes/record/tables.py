"""Tables of the record, as the newest revision leaves them."""

from __future__ import annotations

import sqlalchemy as sa

from agency.store import Schema

SCHEMA = Schema("agency.recipes.record:migrations", ("0001", "0002"))

metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    metadata,
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
    sa.UniqueConstraint("project", "comment"),
    sqlite_autoincrement=True,
)
# Memory of the comment bridge. Moments are of the forge's clock, in seconds since the epoch.
looks = sa.Table(
    "bridge_looks",
    metadata,
    sa.Column("project", sa.String(255), primary_key=True),
    sa.Column("first_s", sa.BigInteger, nullable=False),
    sa.Column("cursor_s", sa.BigInteger, nullable=False),
)

comments = sa.Table(
    "bridge_comments",
    metadata,
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
sa.Index("bridge_comments_by_state", comments.c.state, comments.c.project)
sa.Index("runs_by_state", runs.c.state, runs.c.sequence)
sa.Index("runs_by_recipe", runs.c.recipe, runs.c.sequence)
