"""This machine as its probes see it, from the control plane's configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agency import naming
from agency.control import ControlConfig
from agency.errors import BadInputError
from agency.secrets import SecretValue
from agency.spinup.probes.probe import Identity
from agency.store import parse_url, sqlite_path

HANDOVER = Path("/run/agency-control/agents")
# Where a secret in plain text would be a leak. /run/secrets and /run/credentials are their homes,
# and a homeserver's database has to hold its users' tokens.
_SEARCHED = (
    Path("/etc"),
    Path("/opt/source"),
    Path("/root"),
    Path("/tmp"),  # noqa: S108 - also what services have of it for themselves
    Path("/usr/lib/agency"),
    Path("/var/lib/agency-control"),
    Path("/var/lib/agency-source"),
    Path("/var/lib/agency-instance"),
    Path("/var/log"),
    Path("/var/tmp"),  # noqa: S108
)
_HOMES = Path("/home")
# The journal is compressed: it is read by its own program, with what is long, unprintable or in
# fields that nobody shows.
_JOURNAL = Path("/var/log/journal")
READ_JOURNAL = ("journalctl", "--no-pager", "--quiet", "--all", "--output=export")
# On NixOS, files of /etc are links into it, and all units are in a directory of it.
_STORE = Path("/nix/store")
_UNITS = Path("/etc/systemd/system")
_MAX_FILES = 100_000


@dataclass(frozen=True, slots=True)
class ThisMachine:
    """This machine: its control plane's configuration, and the places to search."""

    config: ControlConfig
    handover: Path = HANDOVER
    searched: tuple[Path, ...] = _SEARCHED
    homes: Path = _HOMES
    journal: tuple[str, ...] = READ_JOURNAL

    @property
    def identity(self) -> Identity:
        """The instance that the control plane was told of."""
        return Identity(self.config.instance, self.config.domain)

    @property
    def ports(self) -> dict[str, int]:
        """Every agent's port by its name."""
        return {agent.name: agent.port for agent in self.config.agents}

    @property
    def database(self) -> Path:
        """The control plane's SQLite file.

        Raises:
            BadInputError: its store is of another kind.
        """
        path = sqlite_path(parse_url(self.config.database_url))
        if path is None:
            raise BadInputError(
                "only a store in SQLite can be looked at from its machine",
                where="database_url",
            )
        return Path(path)

    def places(self) -> tuple[Path, ...]:
        """List the directories to search; the agents' homes are among them."""
        return (*self.searched, *(self.homes / naming.agent_localpart(name) for name in self.ports))

    def files(self) -> list[Path]:
        """List the files in which a secret in plain text would be a leak."""
        return files_of(self.places())

    def pids(self) -> list[int]:
        """List all processes."""
        return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())

    def tokens(self) -> dict[str, SecretValue]:
        """Read the tokens of the agents that run."""
        found = {}
        for name in self.ports:
            path = self.handover / f"{name}.token"
            if path.is_file():
                found[name] = SecretValue(path.read_text().strip())
        return found


def files_of(searched: Iterable[Path], *, store: Path = _STORE, units: Path = _UNITS) -> list[Path]:
    """List the files to search, each once; links into Nix's store are followed."""
    linked = [units] if units.is_symlink() else []
    found = (path for base in (*searched, *linked) for path in _files(base, store))
    return list({path.resolve(): path for path in found}.values())


def _files(base: Path, store: Path) -> Iterator[Path]:
    count = 0
    for path in _below(base):
        if not path.is_file() or (path.is_symlink() and not path.resolve().is_relative_to(store)):
            continue
        count += 1
        if count > _MAX_FILES:
            raise BadInputError(f"more than {_MAX_FILES} files to search", where=str(base))
        yield path


def _below(base: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(base, onerror=_unreadable):
        here = Path(directory)
        names[:] = [name for name in names if here / name != _JOURNAL]
        yield from (here / name for name in files)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # not there, or removed in the meantime
        raise error
