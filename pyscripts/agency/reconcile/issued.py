"""Secrets issued by a service on this machine: one file each, which systemd passes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.files import write_atomically

_MODE = 0o400


@dataclass(frozen=True, slots=True)
class Issued:
    """Directory of issued secrets."""

    directory: Path

    def read(self, name: str) -> str | None:
        """Read a secret; None if there is none."""
        try:
            return (self.directory / name).read_text().strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PrerequisiteError(
                f"cannot read it: {error.strerror or error}", where=str(self.directory / name)
            ) from error

    def write(self, name: str, value: str) -> None:
        """Put a secret in place, in one step, readable by its owner alone."""
        write_atomically(self.directory / name, value.encode() + b"\n", mode=_MODE)
