"""The desk of Gosuto: what the commands' handlers call."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from agency.control.acp_transport import AcpLieError
from agency.control.execution.describing import document_of
from agency.control.execution.result import RefusalError
from agency.control.gosuto import planning
from agency.control.gosuto.planning import Planned, Request
from agency.control.gosuto.push import ConfigPush
from agency.control.store import gosuto as store
from agency.control.store.gosuto import Version
from agency.errors import InternalError
from agency.gosuto import Change, Document, compare
from agency.store import Database

MOST_VERSIONS = 50


@dataclass(frozen=True, slots=True)
class AddVersion:
    """A version to be stored together with the result of its command."""

    version: Version

    def apply(self, connection: Connection, now_ts: int) -> None:
        """Add it.

        Raises:
            InternalError: another version came in between.
        """
        newest = store.newest(connection, self.version.agent)
        if self.version.number != (1 if newest is None else newest.number + 1):
            raise InternalError(f"{self.version.agent} has another version by now")
        store.add(connection, replace(self.version, created_ts=now_ts))


def _tell_nobody(_agent: str, _number: int) -> None:
    """Tell nobody of an agent that lies."""


@dataclass(frozen=True, slots=True)
class GosutoDesk:
    """Versions of the documents of these agents, and the port by which they are delivered.

    `lied` is called for an agent that says that it holds something else than this version, which it
    was just given.
    """

    database: Database
    agents: Collection[str]
    port: ConfigPush
    lied: Callable[[str, int], None] = _tell_nobody

    async def newest(self, agent: str) -> Version:
        """Return the newest version.

        Raises:
            RefusalError: there is no such agent, or it has none.
        """
        return await self.version(agent, None)

    async def version(self, agent: str, number: int | None) -> Version:
        """Return a version, the newest if `number` is None. Raises as `newest` does."""
        self._check(agent)
        if number is not None:
            wanted = number
            return await self.database.read(lambda c: planning.found(c, agent, wanted))
        newest = await self.database.read(lambda c: store.newest(c, agent))
        if newest is None:
            raise RefusalError(planning.NO_VERSION.format(agent))
        return newest

    async def versions(self, agent: str) -> list[Version]:
        """Return the newest versions of an agent."""
        self._check(agent)
        return await self.database.read(lambda c: store.versions(c, agent, MOST_VERSIONS))

    async def difference(
        self, agent: str, older: int | None, newer: int | None
    ) -> tuple[Version, Version, tuple[Change, ...]]:
        """Compare two versions; the newest with the one before it if none is named.

        Raises:
            RefusalError: one of them is not there.
        """
        after = await self.version(agent, newer)
        before = await self.version(agent, older if older is not None else after.number - 1)
        changes = compare(planning.read(before), planning.read(after))
        return before, after, changes

    async def plan(self, request: Request) -> Planned:
        """Plan a change. Raises as `planning.plan` does."""
        return await self.database.read(lambda c: planning.plan(c, request, self.agents))

    async def document(self, agent: str) -> tuple[Version, Document]:
        """Return the newest version and its document. Raises as `newest` does."""
        version = await self.newest(agent)
        return version, planning.read(version)

    async def describe(self, agent: str, held: str | None) -> str:
        """Say which version an agent holds, by the digest that it reports."""

        def look(connection: Connection) -> str:
            newest = store.newest(connection, agent)
            known = None if newest is None else store.Newest(newest.number, newest.sha256)
            return document_of(held, known, store.number_of(connection, agent, held or ""))

        return await self.database.read(look)

    async def push(self, agent: str, trace: str) -> tuple[Version, bool]:
        """Deliver the newest version; return it, and whether the agent held another before.

        Raises:
            AgencyError: there is none, or the agent does not take it.
        """
        version, _ = await self.document(agent)
        try:
            return version, await self.port.apply(agent, version.document.encode(), trace)
        except AcpLieError:
            self.lied(agent, version.number)
            raise

    def _check(self, agent: str) -> None:
        if agent not in self.agents:
            raise RefusalError(f"there is no agent {agent}", hint="`agents list` shows them")
