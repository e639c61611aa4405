"""Reset of a lost Matrix password, by root on the machine.

The homeserver lets administrators alone set a password. None is kept: each reset registers one of
its own, uses it and deactivates it. One that an interrupted reset left is deactivated by the next.

    register @agency-reset-…  →  look at the account  →  write the file  →  set the password
                              →  deactivate @agency-reset-…
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agency.clock import new_id
from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.matrix import (
    MatrixError,
    MatrixSession,
    client_session,
    localpart,
    register,
)
from agency.naming import matrix_id
from agency.reconcile.matrix.accounts import AccountsSettings, handover
from agency.reconcile.matrix.handover import Handover
from agency.secrets import (
    MATRIX_REGISTRATION_SHARED_SECRET,
    SecretValue,
    read_credential,
)

_ADMINISTRATOR = "agency-reset"
_MOST_LEFT = 100


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset of passwords at one homeserver."""

    api: MatrixSession
    settings: AccountsSettings
    shared_secret: SecretValue
    handover: Handover
    new_id: Callable[[str], str]

    async def run(self, user: str) -> Path:
        """Set a new password for `user`, end its sessions, and return the file that tells it.

        Raises:
            UsageError: the account is no account of this homeserver.
            BadInputError: it is not there, was deactivated, or logs in without a password.
            PrerequisiteError: the homeserver does not answer, or refuses the machine's secret.
        """
        if not user.startswith("@") or not user.endswith(f":{self.settings.domain}"):
            raise UsageError(
                "it is not an account of this homeserver",
                where=user,
                hint=f"name it in full: @NAME:{self.settings.domain}",
            )
        try:
            async with self._administrator() as admin:
                _must_have_password(user, await _account(admin, user))
                return await self._set(admin, user)
        except MatrixError as error:
            raise PrerequisiteError(
                f"the homeserver does not do it: {error.message}",
                where=self.settings.homeserver_url,
                hint="see whether it runs: systemctl status matrix-synapse",
            ) from error

    async def _set(self, admin: MatrixSession, user: str) -> Path:
        """Write the file first: an interrupted run leaves no password that nobody knows."""
        password = await asyncio.to_thread(self.handover.offer, user)
        body = {"password": password.reveal(), "logout_devices": True}
        try:
            await admin.request("PUT", _user_path(user), body)
        except MatrixError as error:
            if not error.temporary:
                await asyncio.to_thread(self.handover.withdraw, user)
            raise
        return self.handover.file(user)

    @asynccontextmanager
    async def _administrator(self) -> AsyncIterator[MatrixSession]:
        """Register an administrator, and deactivate it and those that were left."""
        name = self.new_id(_ADMINISTRATOR)
        password, secret = self.handover.new_password(), self.shared_secret
        told = await register(self.api, name, password.reveal(), secret.reveal(), admin=True)
        admin = replace(self.api, token=str(told.get("access_token")))
        itself = matrix_id(name, self.settings.domain)
        try:
            for left in await _left(admin, self.settings.domain):
                if left != itself:
                    await _deactivate(admin, left)
            yield admin
        finally:
            await asyncio.shield(_deactivate(admin, itself))


async def _account(admin: MatrixSession, user: str) -> dict[str, Any]:
    try:
        return await admin.request("GET", _user_path(user))
    except MatrixError as error:
        if error.status == 404:
            raise BadInputError("there is no such account", where=user) from error
        raise


def _must_have_password(user: str, account: dict[str, Any]) -> None:
    """Refuse an account that no password opens.

    Raises:
        BadInputError: it was deactivated, is an agent's, or logs in at a provider.
    """
    reason: tuple[str, str] | None = None
    if account.get("deactivated"):
        reason = "it was deactivated", "name another account: Matrix never gives a name twice"
    elif account.get("appservice_id"):
        reason = "it belongs to the control plane or an agent", "these log in without a password"
    elif account.get("external_ids"):
        reason = "it logs in at a provider", "reset the password there"
    if reason is not None:
        raise BadInputError(reason[0], where=user, hint=reason[1])


async def _left(admin: MatrixSession, domain: str) -> tuple[str, ...]:
    """List the administrators of earlier resets that are still active."""
    path = "/_synapse/admin/v2/users"
    query = {"name": f"{_ADMINISTRATOR}-", "deactivated": "false", "limit": str(_MOST_LEFT)}
    told = await admin.request("GET", path, query=query)
    names = [each.get("name") for each in told.get("users", ()) if isinstance(each, dict)]
    suffix = f":{domain}"
    return tuple(
        name
        for name in names
        if isinstance(name, str)
        and localpart(name).startswith(f"{_ADMINISTRATOR}-")
        and name.endswith(suffix)
    )


async def _deactivate(admin: MatrixSession, user: str) -> None:
    path = f"/_synapse/admin/v1/deactivate/{quote(user, safe='')}"
    await admin.request("POST", path, {"erase": True})


def _user_path(user: str) -> str:
    return f"/_synapse/admin/v2/users/{quote(user, safe='')}"


@asynccontextmanager
async def opened(settings: AccountsSettings) -> AsyncIterator[Reset]:
    """Open the reset, with the machine's secret of registrations.

    Raises:
        PrerequisiteError: the secret cannot be read.
    """
    secret = read_credential(MATRIX_REGISTRATION_SHARED_SECRET)

    async with client_session() as session:
        api = MatrixSession(settings.homeserver_url, session)
        yield Reset(api, settings, secret, handover(settings), new_id)
