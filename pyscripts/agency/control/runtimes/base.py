"""The interface of a runtime: all that the control plane knows of what runs agents."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agency.errors import AgencyError
from agency.secrets.values import SecretValue

MAX_LOG_LINES = 100
MAX_LOG_BYTES = 64 * 1024


class AgentRuntimeError(AgencyError):
    """A runtime could not do what it was asked."""


class State(StrEnum):
    """What a runtime sees of an agent."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"  # it ended without being asked to


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What is needed to start one agent."""

    name: str
    role: str
    project: str | None
    trace: str


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One agent as its runtime sees it now.

    `handle` is what the runtime knows a running one by, and `handle_name` is people's word for
    that: a pid, a container, a pod.
    """

    name: str
    state: State
    handle: str | None = None
    started_at: str | None = None  # RFC 3339, UTC
    exit_status: int | None = None  # negative: the number of the signal that ended it
    detail: str | None = None  # why it failed, in one line, without secrets
    handle_name: str = "pid"

    @property
    def known_as(self) -> str:
        """The handle in a sentence: `pid 42`."""
        return f"{self.handle_name} {self.handle}"

    @property
    def handle_detail(self) -> dict[str, str | int | None]:
        """The handle as the audit log keeps it: by its name; a pid is a number there."""
        is_number = self.handle is not None and self.handle_name == "pid"
        return {self.handle_name: int(self.handle or 0) if is_number else self.handle}


@dataclass(frozen=True, slots=True)
class Usage:
    """What an agent uses now; None for what its runtime does not count.

    Memory in bytes, processor time in seconds; `restarts` are those that nobody asked for.
    """

    memory: int | None = None
    cpu_s: float | None = None
    restarts: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running agent serves ACP, and the bearer token for it (never printed).

    Its runtime alone knows; nobody else makes one out of a name, a host or a port.
    `agent` is the name that must answer there; without one, any name is believed.
    """

    url: str
    token: str
    agent: str | None = None

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r})"


class Runtime(Protocol):
    """Starts, stops and observes agents. Every call is idempotent and bounded in time."""

    def kind_of(self, name: str) -> str:
        """Name the kind of runtime in which an agent runs: `process`, `systemd`."""

    async def start(self, request: StartRequest) -> RuntimeStatus:
        """Start an agent; starting a running one returns its status and starts nothing."""

    async def stop(self, name: str) -> RuntimeStatus:
        """Stop an agent and wait for its end; stopping a stopped one does nothing."""

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        """Stop if it runs, then start."""

    async def status(self, name: str) -> RuntimeStatus:
        """What is observed now, not what was last wanted."""

    async def list(self) -> tuple[RuntimeStatus, ...]:
        """Every agent this runtime has started and not forgotten, by name."""

    async def usage(self, name: str) -> Usage:
        """What an agent uses now; nothing is known of one that does not run."""

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        """The last lines that an agent wrote, oldest first, over all of its runs.

        Of at most MAX_LOG_LINES lines and MAX_LOG_BYTES bytes; empty where it wrote nothing. They
        are as they were written: they may hold secrets, and any character but a line's end.
        """

    def secrets(self) -> tuple[SecretValue, ...]:
        """The tokens that its agents hold: what nothing that is said may contain."""

    def endpoint(self, name: str) -> Endpoint | None:
        """Where a running agent serves ACP, or None."""

    async def close(self) -> None:
        """Give up what the runtime holds; for `process`, that ends the agents."""
