"""Tokens of people for the HTTP interface.

    agency tokens create ── makes the token ──▶ shown once, or written to a file
              │ its SHA-256
              ▼
    tokens create sha256:… ──▶ TokenDesk ──▶ store          the control plane never has the token
                                   ▲
    Authorization: Bearer agt_… ───┘ find: by SHA-256, compared in constant time

A token is a person's, and gives them a role that they hold; it never gives more than the policy
gives that person at the moment. Whoever makes one for another person could act in their stead, so
only an administrator of the machine may.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.execution.result import RefusalError
from agency.control.kept.minting import FORM, digest_of
from agency.control.policy import LOCAL, SYSTEM, Policy, Role
from agency.control.store import audit, tokens
from agency.control.store.audit import AuditEntry, Outcome, audit_detail
from agency.control.store.tokens import Token
from agency.store import Database

MOST_EACH, MOST = 20, 500  # live tokens of one person, and of all
_DAY_MS = 24 * 3600 * 1000


@dataclass(slots=True)
class TokenDesk:
    """The tokens, kept in memory as they are on record: a request costs no look at the store."""

    database: Database
    clock: Clock
    policy: Callable[[], Policy]
    _kept: dict[str, Token] = field(default_factory=dict)

    async def load(self, trace: str) -> None:
        """Read the tokens, and take back those whose person has lost the role.

        The policy comes with the configuration, so it changes only between two starts. A token
        that was taken back stays so when the person gets the role again.
        """
        policy, now = self.policy(), self.clock.now_ms()

        def read(connection: Connection) -> list[Token]:
            for each in tokens.every(connection):
                if each.is_live(now) and not policy.people.may(each.person, Role(each.role)):
                    tokens.revoke(connection, each.digest, SYSTEM, now)
                    about = audit_detail(
                        code="role-lost", person=each.person, role=each.role, token=each.id
                    )
                    entry = AuditEntry(trace, SYSTEM, "tokens revoke", each.id, Outcome.DONE, about)
                    audit.append(connection, self.clock, entry)
            return tokens.every(connection)

        self._kept = {each.digest: each for each in await self.database.write(read)}

    def find(self, presented: str) -> Token | None:
        """Find the live token that was presented; None if it opens nothing."""
        digest = digest_of(presented)
        found = self._kept.get(digest)
        if found is None or not FORM.match(presented):
            return None
        same = hmac.compare_digest(found.digest, digest)
        return found if same and found.is_live(self.clock.now_ms()) else None

    def every(self) -> tuple[Token, ...]:
        """Return every token on record."""
        return tuple(self._kept.values())

    async def create(self, digest: str, person: str, role: Role, days: int, by: str) -> Token:
        """Put a token on record; the same again changes nothing.

        Raises:
            RefusalError: it is not `by`'s to make, the person does not hold the role, or there are
                too many.
        """
        now = self.clock.now_ms()
        known = self._kept.get(digest)
        if known is not None:
            if (known.person, known.role, known.made_by) == (person, role, by):
                return known
            raise RefusalError("this token is on record for something else", hint="make a new one")
        if person != by and not by.startswith(LOCAL):
            raise RefusalError(
                f"only {person}, or who administers the machine, may make a token of {person}"
            )
        if not self.policy().people.may(person, role):
            held = ", ".join(sorted(self.policy().people.roles(person))) or "none"
            raise RefusalError(
                f"{person} does not hold the role {role}",
                hint=f"the roles of {person} are: {held}",
            )
        live = [each for each in self._kept.values() if each.is_live(now)]
        if len(live) >= MOST or sum(each.person == person for each in live) >= MOST_EACH:
            raise RefusalError(
                f"{person} has too many tokens", hint="take one back: `tokens revoke`"
            )
        token = Token(digest, person, str(role), by, now, now + days * _DAY_MS)
        await self.database.write(lambda c: tokens.add(c, token))
        self._kept[digest] = token
        return token

    async def revoke(self, beginning: str, by: str, limit: Role | None = None) -> Token:
        """Take back the token whose digest begins so; `limit` is the most that `by`'s token gives.

        Raises:
            RefusalError: there is none, there are several, or it is not `by`'s to take back.
        """
        found = [each for each in self._kept.values() if each.digest.startswith(beginning)]
        if len(found) != 1:
            many = "several tokens begin" if found else "no token begins"
            raise RefusalError(f"{many} with {beginning}", hint="`tokens list` shows the ids")
        (token,) = found
        may = by == token.person or by.startswith(LOCAL)
        if not may and not self.policy().people.may(by, Role.ADMIN, limit):
            raise RefusalError(f"only {token.person} or an admin may take back {token.id}")
        if token.revoked_ts is None:
            now = self.clock.now_ms()
            await self.database.write(lambda c: tokens.revoke(c, token.digest, by, now))
            token = replace(token, revoked_ts=now, revoked_by=by)
            self._kept[token.digest] = token
        return token
