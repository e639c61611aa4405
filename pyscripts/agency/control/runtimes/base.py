"""Interface of a runtime: everything that the control plane uses of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from agency.errors import AgencyError
from agency.secrets import SecretValue

MAX_LOG_LINES = 100
MAX_LOG_BYTES = 64 * 1024


class AgentRuntimeError(AgencyError):
    """Error of a runtime that could not do what was asked."""


class State(StrEnum):
    """State of an agent, as its runtime observes it."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"  # it ended without a request to stop
    UNKNOWN = "unknown"  # its runtime does not answer; no runtime says this itself


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Values needed to start one agent.

    `agent` is its name where it runs under another one: in a slot.
    """

    name: str
    role: str
    project: str | None
    trace: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """Status of one agent, as its runtime observes it now.

    `handle` identifies a running agent in its runtime; `handle_name` is the usual word for it: a
    pid, a container, a pod.
    """

    name: str
    state: State
    handle: str | None = None
    started_at: str | None = None  # RFC 3339, UTC
    exit_status: int | None = None  # negative: the number of the signal that ended it
    detail: str | None = None  # why it failed, in one line, without secrets
    handle_name: str = "pid"
    recovering: bool = False  # its runtime starts it again by itself

    @property
    def known_as(self) -> str:
        """The handle in a sentence: `pid 42`."""
        return f"{self.handle_name} {self.handle}"

    @property
    def handle_detail(self) -> dict[str, str | int | None]:
        """The handle for the audit log, under its name; a pid is a number there."""
        is_number = self.handle is not None and self.handle_name == "pid"
        return {self.handle_name: int(self.handle or 0) if is_number else self.handle}


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that an agent uses now; None for values that its runtime does not count.

    Memory in bytes, processor time in seconds. `restarts` counts the restarts that the control
    plane did not request.
    """

    memory: int | None = None
    cpu_s: float | None = None
    restarts: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """ACP address of a running agent, and the bearer token for it (never printed).

    Only the agent's runtime makes one; no other code builds it from a name, a host or a port.
    `agent` is the name that must answer there; None accepts any name. With `socket`, the path of a
    Unix socket, the URL is reached there, and its host is a name for people. `policy` is the file
    from which programs elsewhere read the Gosuto that the agent holds.
    """

    url: str
    token: str
    agent: str | None = None
    socket: str | None = None
    policy: Path | None = None

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r})"


class Runtime(Protocol):
    """Runtime that starts, stops and observes agents."""

    def kind_of(self, name: str) -> str:
        """Return the kind of runtime in which an agent runs: `process`, `systemd`."""

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Start an agent; a running one is left alone and its status returned."""

    async def stop(self, name: str) -> RuntimeStatus:
        """Stop an agent and wait for its end; a stopped one is left alone."""

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop an agent if it runs, then start it."""

    async def remove(self, name: str) -> None:
        """Stop an agent, and erase what the runtime keeps of it: its state, its log as far as the
        control plane may. Another agent of that name finds nothing.
        """

    async def status(self, name: str) -> RuntimeStatus:
        """Return the observed status, which may differ from the wanted one."""

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """List every agent that this runtime has started and not forgotten, by name."""

    async def usage(self, name: str) -> Usage:
        """Return the resources that an agent uses now; all None for one that does not run."""

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that an agent wrote, oldest first, over all of its runs.

        At most MAX_LOG_LINES lines and MAX_LOG_BYTES bytes; empty if it wrote nothing. The lines
        are unchanged: they may hold secrets, and any character but a line break.
        """

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the tokens that its agents hold; no message may contain one."""

    def endpoint(self, name: str) -> Endpoint | None:
        """Return the ACP endpoint of a running agent, or None."""

    async def close(self) -> None:
        """Release the runtime's resources; for `process`, that ends the agents."""
