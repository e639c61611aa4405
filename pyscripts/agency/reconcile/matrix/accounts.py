"""accounts: operators of this homeserver have accounts, where no provider makes one at log-in.

The first password is handed over in a file that only root reads. It is written once, before the
account is made: a run that ends in between leaves no account whose password nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agency.errors import PrerequisiteError
from agency.matrix import (
    MatrixError,
    MatrixSession,
    client_path,
    client_session,
    register,
)
from agency.reconcile.engine.contract import ABSENT, Change, ReconcileError, Settings
from agency.reconcile.matrix.handover import Handover
from agency.reconcile.matrix.rooms import UserId
from agency.secrets import (
    MATRIX_REGISTRATION_SHARED_SECRET,
    Generator,
    SecretValue,
    generate,
    read_credential,
)

_IN_USE = "M_USER_IN_USE"


class AccountsSettings(Settings):
    """Operators, and where their first passwords are handed over."""

    homeserver_url: str = Field(pattern=r"^https?://[!-~]+[^/]$")
    domain: str = Field(min_length=1, max_length=253)
    operators: Annotated[tuple[UserId, ...], Field(max_length=1000)]
    handover_dir: Path
    log_in_at: str = Field(pattern=r"^https?://[!-~]+$", max_length=300)


SETTINGS = AccountsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange(Change):
    """An account to make."""

    user: str


@dataclass(frozen=True, slots=True)
class Accounts:
    """Reconciler of the operators' accounts."""

    api: MatrixSession
    settings: AccountsSettings
    shared_secret: SecretValue
    handover: Handover

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the shared secret and the passwords of this run."""
        return (self.shared_secret, *self.handover.handed)

    async def observe(self) -> frozenset[str]:
        """Ask the homeserver which operators have a profile, as every account has."""
        return frozenset([user for user in self._local() if await self._exists(user)])

    def _local(self) -> tuple[str, ...]:
        """List the operators of this homeserver; the others have their accounts elsewhere."""
        suffix = f":{self.settings.domain}"
        return tuple(user for user in self.settings.operators if user.endswith(suffix))

    async def _exists(self, user: str) -> bool:
        try:
            await self.api.request("GET", client_path("profile", user))
        except MatrixError as error:
            if error.status == 404:
                return False
            raise self._down(error) from error
        return True

    def plan(self, observed: frozenset[str]) -> tuple[AccountChange, ...]:
        """List the operators without an account."""
        return tuple(
            AccountChange(
                part=f"operator {user}",
                what="account",
                before=ABSENT,
                after=f"made; first password in {self.handover.file(user)}",
                user=user,
            )
            for user in self._local()
            if user not in observed
        )

    async def apply(self, change: AccountChange) -> None:
        """Write the first password for an operator, then make the account."""
        password = await asyncio.to_thread(self.handover.offer, change.user)
        try:
            await self._register(change.user, password)
        except MatrixError as error:
            if error.temporary:
                raise self._down(error) from error
            # It opens nothing.
            await asyncio.to_thread(self.handover.withdraw, change.user)
            raise self._refused(change.user, error) from error

    async def _register(self, user: str, password: SecretValue) -> None:
        localpart = user[1:].removesuffix(f":{self.settings.domain}")
        await register(self.api, localpart, password.reveal(), self.shared_secret.reveal())

    def _refused(self, user: str, error: MatrixError) -> ReconcileError:
        if error.errcode == _IN_USE:
            return ReconcileError(
                "the name belongs to an account that was deactivated",
                where=user,
                hint="name another operator in instance.yaml: Matrix never gives a name twice",
            )
        return ReconcileError(
            f"the homeserver makes no account: {error.message}",
            where=user,
            hint="see its journal: journalctl -u matrix-synapse",
        )

    def _down(self, error: MatrixError) -> PrerequisiteError:
        return PrerequisiteError(
            f"the homeserver does not answer: {error.message}",
            where=self.settings.homeserver_url,
            hint="see whether it runs: systemctl status matrix-synapse",
        )


@asynccontextmanager
async def opened(settings: AccountsSettings) -> AsyncIterator[Accounts]:
    """Open the reconciler, with the secret of registrations."""
    secret = read_credential(MATRIX_REGISTRATION_SHARED_SECRET)
    async with client_session() as session:
        api = MatrixSession(settings.homeserver_url, session)
        yield Accounts(api, settings, secret, handover(settings))


def handover(settings: AccountsSettings) -> Handover:
    """Return the directory in which passwords wait."""
    return Handover(settings.handover_dir, settings.log_in_at, lambda: generate(Generator.PASSWORD))
