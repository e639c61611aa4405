"""Leases: an agent is offered its secrets without a value, and redeems each offer once.

Checked at redemption, in the transaction that uses the lease up: the agent, the token, the time,
the binding, the version, the seal, and the value.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from agency.canonical import sha256_hex
from agency.control.execution.result import RefusalError
from agency.control.store import audit
from agency.control.store.audit import AuditEntry
from agency.control.vault import rows
from agency.control.vault.rows import LeaseRow, Secret
from agency.control.vault.vault import Vault
from agency.secrets import SecretValue

# Makes the audit row of a redemption, from the secret, its version and the lease.
Entry = Callable[[str, int, str], AuditEntry]
OFFER_S = 60.0  # how long an offer may be redeemed


class RedemptionError(RefusalError):
    """A redemption that was refused; nothing of it was handed out."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer of one secret: what the agent is told, without a value."""

    lease: str
    secret: str
    version: int
    expires_ts: int
    token: SecretValue = field(repr=False)


@dataclass(frozen=True, slots=True)
class Leases:
    """Maker and redeemer of leases; a lease lasts for `lease_s` seconds."""

    vault: Vault
    lease_s: float
    new_id: Callable[[], str]
    new_token: Callable[[], str]

    async def offer(self, agent: str) -> tuple[Offer, ...]:
        """Offer an agent everything that is bound to it; raises as the vault does."""
        now = self.vault.clock.now_ms()

        def change(connection: Connection) -> tuple[Offer, ...]:
            self.vault.check(connection)
            rows.forget_leases(connection, now)
            names = [name for name, bound in rows.bindings(connection) if bound == agent]
            found = [rows.find(connection, name) for name in names]
            return tuple(
                self._lease(connection, agent, each[0], now) for each in found if each is not None
            )

        return await self.vault.database.write(change)

    def _lease(self, connection: Connection, agent: str, secret: Secret, now: int) -> Offer:
        token = SecretValue(self.new_token())
        lease = LeaseRow(
            id=self.new_id(),
            agent=agent,
            secret=secret.name,
            version=secret.version,
            token_hash=_hash(token),
            offered_until_ts=now + int(OFFER_S * 1000),
            expires_ts=now + int(self.lease_s * 1000),
        )
        rows.add_lease(connection, lease)
        return Offer(lease.id, secret.name, secret.version, lease.expires_ts, token)

    async def redeem(
        self, agent: str, lease_id: str, token: SecretValue, entry: Entry
    ) -> SecretValue:
        """Use up a lease of an agent, with the audit row that `entry` makes; return the value.

        Raises:
            RedemptionError: it may not be redeemed; nothing is used up.
            VaultError: what is stored cannot be read or trusted.
        """
        now = self.vault.clock.now_ms()

        def change(connection: Connection) -> SecretValue:
            self.vault.check(connection)
            lease = _valid(rows.find_lease(connection, lease_id), agent, token, now)
            name = lease.secret
            if not rows.set_redeemed(connection, lease.id, now):
                raise RedemptionError(f"the lease of {name} was redeemed before")
            if (name, agent) not in rows.bindings(connection):
                raise RedemptionError(f"{name} is not bound to {agent} any more")
            found = rows.find(connection, name)
            if found is None or found[0].version != lease.version:
                raise RedemptionError(f"{name} has another version by now")
            value = self.vault.opened(*found)
            audit.append(connection, self.vault.clock, entry(name, lease.version, lease.id))
            return value

        return await self.vault.database.write(change)


def _valid(lease: LeaseRow | None, agent: str, token: SecretValue, now: int) -> LeaseRow:
    """Return a lease that this agent may redeem now.

    Raises:
        RedemptionError: there is none of its own, the token is another's, or it is too late.
    """
    if lease is None or lease.agent != agent:
        raise RedemptionError(f"there is no such lease of {agent}")
    if not hmac.compare_digest(lease.token_hash, _hash(token)):
        raise RedemptionError(f"the token does not belong to the lease of {lease.secret}")
    # A clock that was put back makes no lease last longer than it was made for.
    if not lease.offered_until_ts - OFFER_S * 1000 <= now < lease.offered_until_ts:
        raise RedemptionError(f"the lease of {lease.secret} has expired")
    return lease


def _hash(token: SecretValue) -> str:
    return sha256_hex(token.reveal().encode(errors="surrogatepass"))
