"""Tokens for the HTTP interface in the database: the digest of each, never the token."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from agency.control.store import schema

_tokens = schema.tokens
_ID = 12  # digits of a digest that people are shown


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a person, who has at most `role` by it. Times are milliseconds since the epoch."""

    digest: str
    person: str
    role: str
    made_by: str
    made_ts: int
    expires_ts: int
    revoked_ts: int | None = None
    revoked_by: str | None = None

    @property
    def id(self) -> str:
        """The beginning of the digest that people are shown."""
        return self.digest[:_ID]

    def is_live(self, now_ms: int) -> bool:
        """Return whether it opens anything: it was not taken back, and has not expired."""
        return self.revoked_ts is None and now_ms < self.expires_ts


def every(connection: Connection) -> list[Token]:
    """Return every token on record, oldest first."""
    rows = connection.execute(select(_tokens).order_by(_tokens.c.made_ts, _tokens.c.digest))
    return [Token(*row) for row in rows]


def add(connection: Connection, token: Token) -> None:
    """Put a token on record."""
    connection.execute(insert(_tokens), asdict(token))


def revoke(connection: Connection, digest: str, by: str, now_ms: int) -> None:
    """Take a token back for ever; one that was taken back stays as it is."""
    live = (_tokens.c.digest == digest) & _tokens.c.revoked_ts.is_(None)
    connection.execute(update(_tokens).where(live).values(revoked_ts=now_ms, revoked_by=by))


def prune(connection: Connection, before_ts: int) -> int:
    """Delete tokens that expired before `before_ts`; return their number."""
    return connection.execute(delete(_tokens).where(_tokens.c.expires_ts < before_ts)).rowcount
