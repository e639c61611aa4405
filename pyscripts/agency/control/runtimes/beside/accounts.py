"""Accounts of agents' programs in rooms, by the application service's own token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agency.matrix import MatrixError, MatrixSession, client_path, log_in_device, register_own
from agency.secrets import SecretValue

_DEVICE, _SHOWN = "AGENCYROOMS", "agency, in rooms"
_END_S = 1.0


@dataclass(frozen=True, slots=True)
class MatrixAccounts:
    """Accounts of the agents' namespace; `user_of` returns the Matrix id of an agent.

    The device is the same each time, so that a message that was sent before a kill is known again.
    """

    api: MatrixSession
    user_of: Callable[[str], str]

    async def log_in(self, agent: str) -> SecretValue:
        """Make the account where it is missing, and return a new access token of it.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        user = self.user_of(agent)
        await register_own(self.api, user)
        return SecretValue(await log_in_device(self.api, user, _DEVICE, _SHOWN))

    async def counts(self, token: SecretValue) -> bool:
        """Return whether the homeserver still takes a token.

        Raises:
            MatrixError: the homeserver did not answer.
        """
        session = replace(self.api, token=token.reveal())
        try:
            await session.request("GET", client_path("account", "whoami"))
        except MatrixError as error:
            if error.status == 401:
                return False
            raise
        return True

    async def log_out(self, token: SecretValue) -> None:
        """End the session of a token, and with it all tokens of its device.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        session = replace(self.api, token=token.reveal())
        await session.request("POST", client_path("logout"), {}, timeout_s=_END_S)
