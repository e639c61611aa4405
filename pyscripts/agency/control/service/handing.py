"""Agents as deliveries of secrets use them: asked and offered over ACP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from agency.clock import iso
from agency.control.acp_client import AcpClient, AcpRefusedError
from agency.control.execution.lifecycle import Lifecycle
from agency.control.runtimes.base import AgentRuntimeError, Endpoint, Runtime
from agency.control.vault.delivery import Held
from agency.control.vault.leases import Offer
from agency.protocols import HeldSecret, LeaseOffer, SecretLease, milliseconds


@dataclass(frozen=True, slots=True)
class AcpAgents:
    """The running agents. `serve` opens the socket at which one redeems."""

    lifecycle: Lifecycle
    runtime: Runtime
    acp: AcpClient
    serve: Callable[[str], Awaitable[None]]

    async def held(self, agent: str, trace: str) -> tuple[Held, ...] | None:
        """Ask what an agent holds; None if it does not run."""
        endpoint = await self._endpoint(agent)
        if endpoint is None:
            return None
        return _held((await self.acp.report(endpoint, trace)).secrets)

    async def offer(self, agent: str, offers: tuple[Offer, ...], trace: str) -> tuple[Held, ...]:
        """Offer an agent the whole set; it redeems all of it, or keeps what it has.

        Raises:
            AgencyError: it does not run, or did not take them.
        """
        endpoint = await self._endpoint(agent)
        if endpoint is None:
            raise AgentRuntimeError(f"{agent} does not run")
        await self.serve(agent)
        leases = tuple(
            SecretLease(
                id=each.lease,
                name=each.secret,
                version=each.version,
                token=each.token.reveal(),
                expires_at=iso(each.expires_ts / 1000),
            )
            for each in offers
        )
        try:
            told = await self.acp.lease(endpoint, trace, LeaseOffer(leases=leases))
        except AcpRefusedError as error:
            if error.failed:
                names = ", ".join(error.failed)
                raise AgentRuntimeError(f"it could not redeem {names}") from error
            raise
        return _held(told.secrets)

    async def _endpoint(self, agent: str) -> Endpoint | None:
        if not await self.lifecycle.is_running(agent):
            return None
        return self.runtime.endpoint(agent)


def _held(secrets: Iterable[HeldSecret]) -> tuple[Held, ...]:
    return tuple(Held(each.name, each.version, milliseconds(each.expires_at)) for each in secrets)
