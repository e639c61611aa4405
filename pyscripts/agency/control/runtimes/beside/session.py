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
    _left: SecretValue | None = None  # of an earlier run, which is not ended yet

    async def ready(self) -> None:
        """Log in, unless the token still counts; one that another run left is ended first.

        Raises:
            AgencyError: the homeserver refused or did not answer, or the file cannot be written.
        """
        if self.token is None:
            await self._end_left()
        if self.token is None or not await self.accounts.counts(self.token):
            self.token = await self.accounts.log_in(self.agent)
        elif self.file.exists():
            return
        write_atomically(self.file, self.token.reveal().encode(), mode=self.mode)

    def resume(self) -> None:
        """Take up the session whose token is in the file: what uses it goes on."""
        if self.token is None:
            self.token = self._written()

    def put_aside(self) -> None:
        """Take an earlier run's token away from whoever begins now; the next log-in ends it."""
        self.resume()
        self.token, self._left = None, self.token or self._left
        self.file.unlink(missing_ok=True)

    async def end(self) -> None:
        """Log out; while the homeserver does not take that, the file stays for the next start."""
        token, self.token, self._left = self.token or self._left, None, None
        if token is None:
            return
        try:
            await self.accounts.log_out(token)
        except AgencyError as error:
            _log.info("%s is not logged out: %s", self.agent, error.message)
            if not self.file.exists():
                write_atomically(self.file, token.reveal().encode(), mode=self.mode)
        else:
            self.file.unlink(missing_ok=True)

    async def _end_left(self) -> None:
        """End the session that a killed control plane left; one of this run goes on."""
        left = self._left or self._written()
        if left is not None and await self.accounts.counts(left):
            await self.accounts.log_out(left)
        self._left = None
        self.file.unlink(missing_ok=True)

    def _written(self) -> SecretValue | None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return SecretValue(self.file.read_text().strip())
        return None
