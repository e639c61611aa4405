"""The choices that a person has about a host over SSH, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency.errors import UsageError
from agency.machine import check_destination, read_options
from agency.source_digest import source_root


@dataclass(frozen=True, slots=True)
class Config:
    """`password_file` names who talks; None when the host is only looked at."""

    host: str
    ssh_options: tuple[str, ...]
    connect_timeout_s: float
    suite: Path
    suite_timeout_s: float
    password_file: Path | None

    @property
    def read_only(self) -> bool:
        """Whether nothing on the host may change."""
        return self.password_file is None


def config_of(chosen: Mapping[str, Any]) -> Config:
    """Read the values of a command line's options; see `options.OPTIONS`.

    Raises:
        UsageError: no host or a bad one, a bad option of ssh, or a file that does not fit.
    """
    host, read_only = chosen["host"], chosen["read_only"]
    password_file = chosen["password_file"]
    if host is None:
        raise UsageError("--target ssh needs a host", where="--host", hint="--host root@HOST")
    if read_only != (password_file is None):
        wrong = "nobody talks to a host that is only looked at" if read_only else "who talks?"
        raise UsageError(
            wrong, where="--password-file", hint="give it with --no-read-only, and only then"
        )
    read_options(chosen["ssh_options"])
    return Config(
        host=check_destination(host),
        ssh_options=chosen["ssh_options"],
        connect_timeout_s=chosen["connect_timeout_s"],
        suite=source_root() / "tests" / "guest",
        suite_timeout_s=chosen["suite_timeout_s"],
        password_file=password_file,
    )
