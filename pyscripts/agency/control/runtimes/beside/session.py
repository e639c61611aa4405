"""Session of an agent's account in rooms: its token in a file, for as long as a run lasts."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from agency.control.runtimes.beside.base import Accounts
from agency.errors import AgencyError
from agency.files import write_atomically
from agency.secrets import SecretValue

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Session:
    """Session of one account; the program in rooms reads its token from `file`."""

    agent: str
    accounts: Accounts
    file: Path
    mode: int = 0o600
    token: SecretValue | None = None

    async def ready(self) -> None:
        """Log in, unless the token still counts; one that another run left is ended first.

        Raises:
            AgencyError: the homeserver refused or did not answer, or the file cannot be written.
        """
        await self._end_left()
        if self.token is None or not await self.accounts.counts(self.token):
            self.token = await self.accounts.log_in(self.agent)
        write_atomically(self.file, self.token.reveal().encode(), mode=self.mode)

    def resume(self) -> None:
        """Take up the session whose token is in the file: what uses it goes on."""
        with contextlib.suppress(FileNotFoundError):
            self.token = SecretValue(self.file.read_text().strip())

    async def end(self) -> None:
        """Log out; while the homeserver does not take that, the file stays for the next start."""
        token, self.token = self.token, None
        if token is None:
            return
        try:
            await self.accounts.log_out(token)
        except AgencyError as error:
            _log.info("%s is not logged out: %s", self.agent, error.message)
        else:
            self.file.unlink(missing_ok=True)

    async def _end_left(self) -> None:
        """End the session that a killed control plane left; one of this run goes on."""
        if self.token is None:
            self.resume()
            await self.end()
