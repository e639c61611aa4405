"""The directory of the logs, and how files in it are named."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agency import naming
from agency.errors import AgencyError, PrerequisiteError

_CURRENT = re.compile(r"(?P<agent>[a-z0-9-]+)\.jsonl")
_CLOSED = re.compile(r"(?P<agent>[a-z0-9-]+)\.(?P<first>\d{12})-(?P<last>\d{12})\.jsonl")
_ASIDE = re.compile(r"(?P<agent>[a-z0-9-]+)\.torn-(?P<which>\d{12}|[0-9a-f]{64}\.pending)")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def current_name(agent: str) -> str:
    """The file that an agent's records are added to."""
    return f"{agent}.jsonl"


def closed_name(agent: str, first: int, last: int) -> str:
    """A closed file; the numbers are those of its first and last record."""
    return f"{agent}.{first:012d}-{last:012d}.jsonl"


def aside_name(agent: str, sequence: int) -> str:
    """Bytes that were no record; `sequence` is the record that says so."""
    return f"{agent}.torn-{sequence:012d}"


def pending_name(agent: str, digest: str) -> str:
    """Bytes that were no record, before a record says so."""
    return f"{agent}.torn-{digest}.pending"


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed file by its name."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one agent; `closed` and `aside` are sorted, oldest first."""

    current: bool
    closed: tuple[Closed, ...]
    aside: tuple[str, ...]
    pending: tuple[str, ...]


def files_of(agent: str, names: Iterable[str]) -> Files:
    """The files of one agent among `names`."""
    names = set(names)
    closed, aside = [], []
    for name in names:
        if (found := _CLOSED.fullmatch(name)) and found["agent"] == agent:
            closed.append(Closed(name, int(found["first"]), int(found["last"])))
        elif (found := _ASIDE.fullmatch(name)) and found["agent"] == agent:
            aside.append(name)
    return Files(
        current_name(agent) in names,
        tuple(sorted(closed, key=lambda file: file.first)),
        tuple(sorted(name for name in aside if not name.endswith(".pending"))),
        tuple(sorted(name for name in aside if name.endswith(".pending"))),
    )


def agents_in(names: Iterable[str]) -> tuple[str, ...]:
    """The agents that have a file among `names`, sorted."""
    patterns = (_CURRENT, _CLOSED, _ASIDE)
    found = {match["agent"] for name in names for p in patterns if (match := p.fullmatch(name))}
    return tuple(sorted(agent for agent in found if naming.is_agent_name(agent)))


class Place:
    """An open directory. Paths in it are names; nothing follows a link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, _READ | os.O_DIRECTORY)
        except OSError as error:
            raise cannot_read(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory."""
        os.close(self.descriptor)

    def lock(self) -> None:
        """Be the only one that writes here, for as long as the directory is open.

        Raises:
            PrerequisiteError: another process is.
        """
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrerequisiteError(
                "another process writes these logs",
                where=str(self.path),
                hint="only agency-audit.service may",
            ) from error

    def names(self) -> list[str]:
        """The names in it."""
        return os.listdir(self.descriptor)  # noqa: PTH208 - of the open directory, wherever it is

    def open(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o640) -> int:
        """A descriptor of a file in it; raises OSError."""
        full = flags | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, full, mode, dir_fd=self.descriptor)

    def exists(self, name: str) -> bool:
        """Whether there is anything of that name."""
        return name in self.names()

    def rename(self, old: str, new: str) -> None:
        """Rename a file; raises FileExistsError rather than replace another."""
        if self.exists(new):
            raise FileExistsError(new)
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Have the names on disk."""
        os.fsync(self.descriptor)

    def where(self, name: str) -> str:
        """The path of a file, for messages."""
        return str(self.path / name)


def cannot_read(path: Path, error: OSError) -> AgencyError:
    """The error for a directory or file of the log that cannot be read."""
    return PrerequisiteError(
        f"cannot read: {error.strerror or error}",
        where=str(path),
        hint="the log is for root and the group adm; agency-audit.service makes it",
    )
