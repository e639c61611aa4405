"""Link of the agent's ACP process to its tool gateway: policy and secrets out, state back.

    config applied, secrets leased ──▶ GatewayLink.sync ──▶ gateway
    every few seconds ──▶ what does it hold? what waits there? ──▶ status and events of ACP

The link compares by digests, so that a gateway that was restarted, or came late, gets what it
lacks; it holds values of secrets in memory only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import SecretStr

from agency.agent.held_secrets import HeldSecrets
from agency.canonical import canonical_json, sha256_hex
from agency.errors import AgencyError
from agency.protocols import (
    GatewayClient,
    GatewayHealth,
    GatewayRefusedError,
    GatewaySecrets,
    GatewayStatus,
    McpServer,
)

_LOOK_S = 2.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class GatewayLink:
    """Link to one gateway; `config` returns the held document, `changed` is told of approvals."""

    client: GatewayClient
    config: Callable[[], bytes | None]
    secrets: HeldSecrets
    changed: Callable[[], None] = lambda: None
    look_s: float = _LOOK_S
    _seen: GatewayStatus | None = None
    _fault: str = "it was not asked yet"
    _waiting: frozenset[str] = frozenset()
    _refused: tuple[str, str] = ("", "")
    _named: tuple[str, frozenset[str]] = ("", frozenset())
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the gateway."""
        self._work = asyncio.create_task(self._keep(), name="gateway link")

    async def close(self) -> None:
        """Look no more."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self.client.close()

    def health(self) -> GatewayHealth:
        """Tell how the gateway is, as it was last seen."""
        seen = self._seen
        if seen is None or self._fault:
            return GatewayHealth(health="failing", policy_sha256=None, reason=self._fault[:200])
        return GatewayHealth(
            health=seen.health, policy_sha256=seen.policy_sha256, reason=seen.reason
        )

    def servers(self) -> tuple[McpServer, ...]:
        """Tell the health of each MCP server; of a gateway that is away, all fail."""
        seen = () if self._seen is None else self._seen.servers
        return tuple(
            McpServer(name=each.name, health="failing" if self._fault else each.health)
            for each in seen
        )

    async def sync(self) -> None:
        """Give the gateway what it lacks; a fault is kept for the status, and tried again."""
        async with self._lock:
            try:
                self._seen = await self._sync()
                self._fault = ""
            except AgencyError as error:
                if error.message != self._fault:
                    _log.warning("the tool gateway: %s", error.message)
                self._fault = error.message

    async def _sync(self) -> GatewayStatus:
        status = await self.client.status()
        content = self.config()
        if content is not None:
            sha256 = sha256_hex(content)
            secrets = self._wanted(sha256, content)
            # Secrets first: a server that needs one is not started in vain.
            if status.secrets_sha256 != secrets.sha256:
                status = await self.client.set_secrets(secrets)
            asked = (status.incarnation, sha256)
            if status.policy_sha256 != sha256 and self._refused != asked:
                try:
                    status = await self.client.set_policy(content)
                except GatewayRefusedError:
                    self._refused = asked  # the same bytes get the same answer
                    raise
        waiting = frozenset(each.id for each in (await self.client.approvals()).approvals)
        if waiting != self._waiting:
            self._waiting = waiting
            self.changed()
        return status

    def _wanted(self, sha256: str, content: bytes) -> GatewaySecrets:
        """Choose the held secrets that servers of the document name, and no others."""
        if self._named[0] != sha256:
            from agency.gosuto import read_canonical

            servers = read_canonical(content, sha256).mcp_servers.values()
            named = {name for each in servers for name in each.secrets.values()}
            named |= {each.bearer for each in servers if each.bearer is not None}
            self._named = (sha256, frozenset(named))
        held = [each for each in self.secrets.held() if each.name in self._named[1]]
        values = {
            each.name: SecretStr(value.reveal())
            for each in held
            if (value := self.secrets.value(each.name)) is not None
        }
        told = sorted([each.name, each.version] for each in held)
        return GatewaySecrets(values=values, sha256=sha256_hex(canonical_json(told)))

    async def _keep(self) -> None:
        while True:
            await self.sync()
            await asyncio.sleep(self.look_s)
