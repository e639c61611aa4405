"""Agents as they are observed: what their runtime says of them, and what they say themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agency.control.config import AgentEntry
from agency.control.runtimes.base import AgentRuntimeError, RuntimeStatus, State
from agency.protocols import AgentStatus, Status
from agency.secrets import Redactor


@dataclass(frozen=True, slots=True)
class Observation:
    """One agent as observed now.

    `told` is its own status, or `report` if it was asked for all of it; `problem` says why there is
    none.
    """

    entry: AgentEntry
    status: RuntimeStatus
    told: Status | None = None
    problem: str | None = None
    report: AgentStatus | None = None


def refuse_impostor(seen: RuntimeStatus, pid: int) -> None:
    """Refuse an answer that is not of the process that the runtime sees.

    Raises:
        AgentRuntimeError: the process does not run, or another one, `pid`, answered.
    """
    if seen.state is not State.RUNNING:
        raise AgentRuntimeError("it ended, although its port answered")
    if seen.handle_name == "pid" and seen.handle not in (None, str(pid)):
        raise AgentRuntimeError(
            f"pid {pid} answers on its port, but its process is {seen.known_as}",
            hint="another program has its port: find it with `ss -ltnp`, end it, and start again",
        )


def redacted(status: RuntimeStatus, redactor: Redactor) -> RuntimeStatus:
    """Remove secrets from why an agent does not run."""
    detail = status.detail
    return status if detail is None else replace(status, detail=redactor.redact(detail))
