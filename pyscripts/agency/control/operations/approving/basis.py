"""State of a target that an approval is planned on; if it moved, the operation is void."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from agency.control.store import agents
from agency.control.vault import vault
from agency.control.wish import Wish, basis_of

_SECRET = "secret "  # noqa: S105 - the kind of a target


def basis_now(connection: Connection, target: str) -> str:
    """Return the digest of the state of an operation's target as it is in the store."""
    if target.startswith(_SECRET):
        return vault.basis_of(connection, target.removeprefix(_SECRET))
    return basis_of(agents.wish_of(connection, target))


def moved_text(target: str, wish: Wish | None) -> str:
    """Say that a target is not as it was when the approval was asked for."""
    if target.startswith(_SECRET):
        return f"{target} was changed since the approval was asked for; ask again"
    return (
        f"{target} is {wish or 'without a command'} by now, and was not when the approval was "
        "asked for; ask again"
    )
