"""Agents as deliveries of secrets use them: asked and offered over ACP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agency.control.acp_client import AcpClient
from agency.control.execution.lifecycle import Lifecycle
from agency.control.runtimes.base import Runtime
from agency.control.vault.delivery import Held
from agency.control.vault.leases import Offer
from agency.errors import AgencyError


@dataclass(frozen=True, slots=True)
class AcpAgents:
    """The running agents. `serve` opens the socket at which one redeems."""

    lifecycle: Lifecycle
    runtime: Runtime
    acp: AcpClient
    serve: Callable[[str], Awaitable[None]]

    async def held(self, agent: str, trace: str) -> tuple[Held, ...] | None:  # noqa: ARG002
        """Ask what an agent holds; None if it does not run."""
        return () if await self.lifecycle.is_running(agent) else None

    async def offer(self, agent: str, offers: tuple[Offer, ...], trace: str) -> tuple[Held, ...]:
        """Offer an agent the whole set."""
        raise AgencyError("not yet")
