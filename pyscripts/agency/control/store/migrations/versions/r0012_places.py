"""A slot, a port and an account of one agent alone, among those that a command made.

Two that were made at one moment could get the same. The later one keeps its name and document: it
has no slot then, another port, and the account that is its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_PRESENT = "deleted_ts IS NULL"
_WHERE = {"slot": f"{_PRESENT} AND slot != ''", "port": _PRESENT, "matrix_id": _PRESENT}
_PORTS = range(20000, 32000)


def upgrade() -> None:
    """Part the agents that share something, and let no two share it again."""
    _part(op.get_bind())
    for column, where in _WHERE.items():
        op.create_index(
            f"created_agents_{column}",
            "created_agents",
            [column],
            unique=True,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )


def _part(connection: sa.Connection) -> None:
    rows = sa.text(
        f"SELECT sequence, name, slot, port, matrix_id FROM created_agents WHERE {_PRESENT} "  # noqa: S608 - a constant
        "ORDER BY sequence"
    )
    parted = sa.text(
        "UPDATE created_agents SET slot = :slot, port = :port, matrix_id = :matrix_id "
        "WHERE sequence = :sequence"
    )
    found = [dict(row) for row in connection.execute(rows).mappings()]
    ports = {row["port"] for row in found}
    slots, taken, accounts = set[str](), set[int](), set[str]()
    for row in found:
        now = dict(row)
        if row["slot"] in slots:
            now["slot"] = ""
        if row["port"] in taken:  # from the end: the names' own ports lie anywhere
            now["port"] = next(port for port in reversed(_PORTS) if port not in ports)
        if row["matrix_id"] in accounts:
            now["matrix_id"] = f"@agent-{row['name']}:{row['matrix_id'].partition(':')[2]}"
        slots |= {now["slot"]} - {""}
        ports.add(now["port"])
        taken.add(now["port"])
        accounts.add(now["matrix_id"])
        if now != row:
            connection.execute(parted, {key: now[key] for key in now if key != "name"})
