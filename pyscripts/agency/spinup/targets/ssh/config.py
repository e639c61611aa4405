"""What a run over SSH is asked to do, after the command line was understood."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agency.errors import UsageError
from agency.machine.ssh.settings import check_destination, read_options
from agency.source_digest import source_root
from agency.spinup.targets.ssh.options import SshOptions


@dataclass(frozen=True, slots=True)
class Wishes:
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


def wishes_of(said: SshOptions, suite_timeout_s: float) -> Wishes:
    """What the command line asks for.

    Raises:
        UsageError: no host or a bad one, a bad option of ssh, or a file that does not fit.
    """
    if said.host is None:
        raise UsageError("--target ssh needs a host", where="--host", hint="--host root@HOST")
    if said.read_only != (said.password_file is None):
        wrong = "nobody talks to a host that is only looked at" if said.read_only else "who talks?"
        raise UsageError(
            wrong, where="--password-file", hint="give it with --no-read-only, and only then"
        )
    read_options(said.ssh_options)
    return Wishes(
        host=check_destination(said.host),
        ssh_options=said.ssh_options,
        connect_timeout_s=said.connect_timeout_s,
        suite=source_root() / "tests" / "guest",
        suite_timeout_s=suite_timeout_s,
        password_file=said.password_file,
    )
