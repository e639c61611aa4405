"""Delivery of a document to a running agent, behind one port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.control.acp_client import AcpClient
from agency.control.execution.result import RefusalError
from agency.control.runtimes.base import Runtime, State
from agency.control.runtimes.handover import checked_name
from agency.files import write_atomically


class ConfigPush(Protocol):
    """The port: `PUT /v1/config` of the agent control protocol."""

    async def apply(self, agent: str, document: bytes, trace: str) -> bool:
        """Have a running agent hold a document; return whether it held another before.

        Raises:
            AgencyError: it does not run, does not answer, refuses the document, or says that it
                holds something else.
        """


@dataclass(frozen=True, slots=True)
class AcpPush:
    """The port to agents that a runtime runs."""

    runtime: Runtime
    acp: AcpClient

    async def apply(self, agent: str, document: bytes, trace: str) -> bool:
        """Have a running agent hold a document; return whether it held another before.

        Raises:
            RefusalError: it does not run.
            AcpError: as `AcpClient.apply` does.
        """
        status = await self.runtime.status(agent)
        endpoint = self.runtime.endpoint(agent)
        if status.state is not State.RUNNING or endpoint is None:
            raise RefusalError(
                f"{agent} does not run", hint=f"start it: !agency agents start {agent}"
            )
        return (await self.acp.apply(endpoint, trace, document)).changed


@dataclass(frozen=True, slots=True)
class SharedPush:
    """The port, and a copy for the metering proxy of what an agent holds.

    The proxy narrows the agent's account by it; the agent's own copy could be altered by the agent.
    """

    inner: ConfigPush
    directory: Path

    async def apply(self, agent: str, document: bytes, trace: str) -> bool:
        """Have a running agent hold a document, and leave the proxy a copy.

        Raises:
            AgencyError: as the inner port does, or the copy cannot be written.
        """
        path = self.directory / f"{checked_name(agent)}.json"
        if not path.exists():  # nothing is asked of a model without a policy
            write_atomically(path, document, mode=0o640)
        changed = await self.inner.apply(agent, document, trace)
        write_atomically(path, document, mode=0o640)
        return changed
