"""Safe mode: switched on and off, on record, and in force after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.policy import SafeMode
from agency.control.store import facts
from agency.control.store.facts import Fact
from agency.store import Database


def on_record(connection: Connection) -> SafeMode | None:
    """Return the mode on record; None if it is off."""
    kept = facts.read(connection, Fact.SAFE_MODE)
    told = json.loads(kept) if kept else None
    return None if told is None else SafeMode(**told)


@dataclass(frozen=True, slots=True)
class Safety:
    """The switch. `present` gives the mode in force, `apply` puts another into force."""

    database: Database
    clock: Clock
    present: Callable[[], SafeMode | None]
    apply: Callable[[SafeMode | None], None]

    async def restore(self) -> None:
        """Put the mode on record into force."""
        self.apply(await self.database.read(on_record))

    async def switch_on(self, by: str) -> SafeMode:
        """Switch it on, and return the mode; one that is on stays as it is."""
        mode = self.present() or SafeMode(by, self.clock.now_ms())
        await self._keep(mode)
        return mode

    async def switch_off(self) -> SafeMode | None:
        """Switch it off; return the mode that was on, None if none was."""
        before = self.present()
        await self._keep(None)
        return before

    async def _keep(self, mode: SafeMode | None) -> None:
        text = json.dumps(None if mode is None else asdict(mode))
        await self.database.write(lambda c: facts.keep(c, Fact.SAFE_MODE, text))
        self.apply(mode)
