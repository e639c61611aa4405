"""Facts about the control plane as a whole, each a text under a key in the table `meta`."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from agency.control.store import schema

_meta = schema.meta


class Fact(StrEnum):
    """Keys of the facts; the audit log has keys of its own."""

    CONTROL_ROOM = "control_room"
    APPROVALS_ROOM = "approvals_room"
    AUDIT_ROOM = "audit_room"
    AUDIT_TOLD = "audit_told"  # number of the last row that the audit room was told of
    CONDITIONS = "conditions"
    DISMISSED = "dismissed"  # agents whose account is out, and since which wish
    SAFE_MODE = "safe_mode"
    SETTINGS = "settings"
    VAULT_SEAL = "vault_seal"


def read(connection: Connection, fact: Fact) -> str | None:
    """Return a fact; None if it was never kept."""
    found = connection.scalar(select(_meta.c.value).where(_meta.c.key == fact.value))
    return None if found is None else str(found)


def keep(connection: Connection, fact: Fact, value: str) -> None:
    """Keep a fact in place of the one before it."""
    connection.execute(delete(_meta).where(_meta.c.key == fact.value))
    connection.execute(insert(_meta), {"key": fact.value, "value": value})
