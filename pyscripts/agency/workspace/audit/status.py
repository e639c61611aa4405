"""State of the logs, from the kernel and from the logs' own records."""

from __future__ import annotations

import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agency.errors import BadInputError
from agency.workspace.audit.record import BEGUN, OPENED, parse_record
from agency.workspace.audit.storage import flags, place
from agency.workspace.audit.storage.flags import Protection
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.storage.tail import MAX_LINE, read_tail


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """State of one agent's log; `append_only` if every one of its files has the flag now."""

    agent: str
    append_only: bool
    reason: str | None
    sequence: int | None
    hash: str | None
    bytes: int
    closed_files: int


@dataclass(frozen=True, slots=True)
class Status:
    """State of all logs; `append_only` is None where no file exists yet."""

    directory: str
    socket: str
    listening: bool
    append_only: bool | None
    reason: str | None
    agents: tuple[AgentStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """Describe the status as `--json` prints it."""
        found = asdict(self)
        for entry in (found, *found["agents"]):
            entry["appendOnly"] = entry.pop("append_only")
            if "closed_files" in entry:
                entry["closedFiles"] = entry.pop("closed_files")
        return found


def status_of(directory: Path, socket: Path) -> Status:
    """Read the state of every log.

    Raises:
        PrerequisiteError: the directory or a file cannot be read.
    """
    with Place(directory) as opened:
        agents = tuple(_agent(opened, agent) for agent in place.agents_in(opened.names()))
    reasons = [f"{entry.agent}: {entry.reason}" for entry in agents if not entry.append_only]
    return Status(
        directory=str(directory),
        socket=str(socket),
        listening=_is_socket(socket),
        append_only=not reasons if agents else None,
        reason="; ".join(reasons) if agents else "there is no file yet",
        agents=agents,
    )


def _agent(directory: Place, agent: str) -> AgentStatus:
    files = place.files_of(agent, directory.names())
    names = [closed.name for closed in files.closed]
    names += [place.current_name(agent)] if files.current else []
    reason, size, end = None, 0, None
    for name in names:
        try:
            descriptor = directory.open(name)
        except OSError as error:
            raise place.cannot_read(directory.path / name, error) from error
        try:
            size += os.fstat(descriptor).st_size
            seen = flags.observe(descriptor)
            if not seen.append_only and reason is None:
                reason = f"{name}: {_said(descriptor, agent) or seen.reason}"
            end = _end(descriptor, agent) or end
        finally:
            os.close(descriptor)
    return AgentStatus(
        agent=agent,
        append_only=bool(names) and reason is None,
        reason=reason if names else "there is no file",
        sequence=end[0] if end else None,
        hash=end[1] if end else None,
        bytes=size,
        closed_files=len(files.closed),
    )


def _end(descriptor: int, agent: str) -> tuple[int, str] | None:
    try:
        last = read_tail(descriptor, agent).record
    except BadInputError:
        return None
    return (last.sequence, last.hash) if last else None


def _said(descriptor: int, agent: str) -> str | None:
    """Return why the service could not set the flag, from its last record on this file."""
    found: Protection | None = None
    with os.fdopen(os.dup(descriptor), "rb") as handle:
        while line := handle.readline(MAX_LINE):
            if b"log." not in line:  # cheap, and true of the service's own records only
                continue
            try:
                record = parse_record(line)
            except ValueError:
                continue
            if record.agent == agent and record.event in (BEGUN, OPENED):
                reason = record.detail.get("reason")
                found = Protection(record.detail.get("appendOnly") is True, reason)
    if found is None:
        return None
    return "the flag was set, and was cleared since" if found.append_only else found.reason


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
