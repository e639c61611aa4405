"""A vault over a real store, for the tests of what is kept in it."""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from agency.clock import Clock
from agency.control.rooms.speaking import Speaker
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.outbox import StoredMessage
from agency.control.vault.keys import read_keyring
from agency.control.vault.leases import Leases
from agency.control.vault.vault import Vault, Wanted
from agency.secrets import SecretValue
from agency.store import Database

CANARY = "canary-value-4f1c9b"


def master_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def wanted(name: str = "github", version: int = 1, **changes: Any) -> Wanted:
    facts: dict[str, Any] = {"type": "text", "critical": False, "author": "@alice:x.org", **changes}
    return Wanted(name, version=version, **facts)


@dataclass
class Safe:
    """A vault, its leases, and the master key of its first run."""

    database: Database
    clock: Clock
    key: str = field(default_factory=master_key)
    lease_s: float = 3600.0
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def vault(self, *keys: str, **changes: Any) -> Vault:
        """The vault of a control plane with these master keys, the newest first."""
        loaded = read_keyring(SecretValue(" ".join(keys or (self.key,))))
        return Vault(self.database, self.clock, loaded, **changes)

    def leases(self, vault: Vault | None = None) -> Leases:
        return Leases(
            vault or self.vault(),
            self.lease_s,
            lambda: f"lease-{next(self.numbers)}",
            lambda: f"token-{next(self.numbers)}",
        )

    def speaker(
        self,
        say: Callable[[StoredMessage], None] = lambda _message: None,
        room_id: Callable[[], str | None] = lambda: "!control:x.org",
    ) -> Speaker:
        """What the room is told by, with `say` for the sender."""
        trace = lambda: f"t-notice-{next(self.numbers)}"  # noqa: E731 - a name for the call below
        bot = "@agency:x.org"
        return Speaker(self.database, self.clock, room_id, bot, trace, say, 1000)

    async def notices(self) -> list[str]:
        """What is queued for the rooms."""
        rows = await self.rows("SELECT content FROM outbox ORDER BY sequence")
        return [json.loads(content)["body"] for (content,) in rows]

    async def execute(self, statement: str, **values: Any) -> None:
        """Change the store behind the vault's back."""
        await self.database.write(lambda c: c.execute(text(statement), values))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return await self.database.read(lambda c: [tuple(r) for r in c.execute(text(statement))])


def entry(secret: str, version: int, lease: str) -> AuditEntry:
    detail = audit.audit_detail(version=version, lease=lease)
    return AuditEntry("t-1", "agent:pm", "secrets redeem", f"secret {secret}", Outcome.DONE, detail)
