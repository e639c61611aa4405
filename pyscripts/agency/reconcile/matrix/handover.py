"""Handover of a password: it waits in a file that only root reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.secrets import SecretValue

_MODE = 0o400
_PASSWORD = "password: "  # noqa: S105 - the word before it
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Handover:
    """Directory of the passwords that wait for their people."""

    directory: Path
    log_in_at: str
    new_password: Callable[[], SecretValue]
    handed: list[SecretValue] = field(default_factory=list, repr=False)

    def file(self, user: str) -> Path:
        """Name the file of an account, by its full Matrix id."""
        return self.directory / f"{quote(user[1:], safe='')}.txt"

    def offer(self, user: str) -> SecretValue:
        """Return the password that waits for an account; write one if none does.

        Raises:
            PrerequisiteError: the file cannot be read.
            OSError: it cannot be written.
        """
        file = self.file(user)
        password = _waiting(file)
        if password is None:
            password = self.new_password()
            lines = (
                f"account: {user}",
                f"{_PASSWORD}{password.reveal()}",
                f"log in at: {self.log_in_at}",
                "Hand it over, remove this file; whoever gets it changes the password at once.",
            )
            write_atomically(file, "".join(f"{line}\n" for line in lines).encode(), mode=_MODE)
        self.handed.append(password)
        return password

    def withdraw(self, user: str) -> None:
        """Remove the file of an account whose password opens nothing."""
        self.file(user).unlink(missing_ok=True)


def _waiting(file: Path) -> SecretValue | None:
    """Return the password in a file that an interrupted run left; None if there is none."""
    try:
        with file.open("rb") as handle:
            lines = handle.read(_MAX_BYTES).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read it: {error.strerror or error}", where=str(file)
        ) from error
    found = [line.removeprefix(_PASSWORD) for line in lines if line.startswith(_PASSWORD)]
    return SecretValue(found[0]) if found and found[0] else None
