"""Secrets that the agent holds in memory, redeemed from leases: all of an offer, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agency.clock import Clock
from agency.errors import AgencyError
from agency.protocols import HeldSecret, LeaseOffer, SecretLease
from agency.secrets import SecretValue

# Exchanges a lease for its value; raises AgencyError if it is refused.
Redeem = Callable[[SecretLease], Awaitable[SecretValue]]
_REDEEM_S = 20.0


class LeaseFailedError(AgencyError):
    """Failure to redeem the secrets named in `failed`; the old set is kept."""

    def __init__(self, failed: tuple[str, ...], of: int) -> None:
        super().__init__(f"{len(failed)} of {of} leases could not be redeemed; the old set is kept")
        self.failed = failed


@dataclass(frozen=True, slots=True)
class _Held:
    lease: SecretLease
    value: SecretValue


class HeldSecrets:
    """Set of secrets by name; an expired one is gone. `redeem` is None where nothing redeems."""

    def __init__(
        self, clock: Clock, redeem: Redeem | None = None, *, redeem_s: float = _REDEEM_S
    ) -> None:
        self._clock = clock
        self._redeem = redeem
        self._redeem_s = redeem_s
        self._held: dict[str, _Held] = {}
        self._taking = asyncio.Lock()

    @property
    def can_redeem(self) -> bool:
        """True if leases can be redeemed at all."""
        return self._redeem is not None

    async def take(self, offer: LeaseOffer) -> tuple[HeldSecret, ...]:
        """Redeem every lease, then hold exactly those secrets.

        Raises:
            LeaseFailedError: one lease is expired or was not redeemed in time.
        """
        assert self._redeem is not None
        async with self._taking:
            got = await asyncio.gather(*(self._one(self._redeem, lease) for lease in offer.leases))
            failed = tuple(
                lease.name for lease, value in zip(offer.leases, got, strict=True) if value is None
            )
            if failed:
                raise LeaseFailedError(failed, len(offer.leases))
            self._held = {
                lease.name: _Held(lease, value)
                for lease, value in zip(offer.leases, got, strict=True)
                if value is not None
            }
        return self.held()

    def held(self) -> tuple[HeldSecret, ...]:
        """List what is held and not expired, by name; never a value."""
        self._drop_expired()
        return tuple(
            HeldSecret(name=name, version=each.lease.version, expires_at=each.lease.expires_at)
            for name, each in sorted(self._held.items())
        )

    def value(self, name: str) -> SecretValue | None:
        """Return the value of a held secret that has not expired, or None."""
        self._drop_expired()
        held = self._held.get(name)
        return None if held is None else held.value

    def _drop_expired(self) -> None:
        now = self._clock.wall()
        self._held = {n: each for n, each in self._held.items() if each.lease.expires > now}

    async def _one(self, redeem: Redeem, lease: SecretLease) -> SecretValue | None:
        if lease.expires <= self._clock.wall():
            return None
        try:
            async with asyncio.timeout(self._redeem_s):
                return await redeem(lease)
        except (AgencyError, TimeoutError):
            return None
