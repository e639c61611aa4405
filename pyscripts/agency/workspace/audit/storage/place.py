"""Directory of the logs, and the names of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agency import locks, naming
from agency.errors import AgencyError, PrerequisiteError
from agency.guarded import Directory

_CURRENT = re.compile(r"(?P<agent>[a-z0-9-]+)\.jsonl")
_CLOSED = re.compile(r"(?P<agent>[a-z0-9-]+)\.(?P<first>\d{12})-(?P<last>\d{12})\.jsonl")
_ASIDE = re.compile(r"(?P<agent>[a-z0-9-]+)\.torn-(?P<which>\d{12}|[0-9a-f]{64}\.pending)")


def current_name(agent: str) -> str:
    """Name the file to which an agent's records are appended."""
    return f"{agent}.jsonl"


def closed_name(agent: str, first: int, last: int) -> str:
    """Name a closed file by the numbers of its first and last record."""
    return f"{agent}.{first:012d}-{last:012d}.jsonl"


def aside_name(agent: str, sequence: int) -> str:
    """Name the file of bytes that were no record; record number `sequence` declares them."""
    return f"{agent}.torn-{sequence:012d}"


def pending_name(agent: str, digest: str) -> str:
    """Name the file of bytes that were no record, until a record declares them."""
    return f"{agent}.torn-{digest}.pending"


@dataclass(frozen=True, slots=True)
class Closed:
    """Closed file, parsed from its name."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one agent; `closed` and `aside` are sorted, oldest first."""

    current: bool
    closed: tuple[Closed, ...]
    aside: tuple[str, ...]
    pending: tuple[str, ...]


def files_of(agent: str, names: Iterable[str]) -> Files:
    """Pick and sort the files of one agent out of `names`."""
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
    """List the agents that have a file among `names`, sorted."""
    patterns = (_CURRENT, _CLOSED, _ASIDE)
    found = {match["agent"] for name in names for p in patterns if (match := p.fullmatch(name))}
    return tuple(sorted(agent for agent in found if naming.is_agent_name(agent)))


class Place(Directory):
    """Open directory of the logs."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path)
        except OSError as error:
            raise cannot_read(path, error) from error

    def lock(self) -> None:
        """Become the only writer, for as long as the directory is open.

        Raises:
            PrerequisiteError: another process is the writer.
        """
        if not locks.take(self.descriptor):
            raise PrerequisiteError(
                "another process writes these logs",
                where=str(self.path),
                hint="only agency-audit.service may",
            )


def cannot_read(path: Path, error: OSError) -> AgencyError:
    """Make the error for a directory or file of the log that cannot be read."""
    return PrerequisiteError(
        f"cannot read: {error.strerror or error}",
        where=str(path),
        hint="the log is for root and the group adm; agency-audit.service makes it",
    )
