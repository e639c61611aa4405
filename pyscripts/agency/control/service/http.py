"""The HTTP interface of a control plane: its tokens, its settings, and its listener."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agency.clock import Clock
from agency.control.api.access import Access, Rate
from agency.control.commands.status import Glance
from agency.control.config import AgentEntry, ControlConfig
from agency.control.entrance.enter import Entrance
from agency.control.kept.settings import KeptSettings
from agency.control.kept.tokens import TokenDesk
from agency.control.operations import Operations
from agency.listening import Inherited
from agency.listening import listen as new_socket
from agency.store import Database
from agency.web import listen, make_runner

if TYPE_CHECKING:
    from aiohttp import web


@dataclass(frozen=True, slots=True)
class HttpParts:
    """The parts that commands change, whether or not the interface is served."""

    tokens: TokenDesk
    settings: KeptSettings
    rate: Rate

    @classmethod
    def of(
        cls,
        config: ControlConfig,
        clock: Clock,
        database: Database,
        running: Callable[[], Operations],
    ) -> HttpParts:
        """Make the parts of a control plane."""
        rate = Rate(clock, 600 if config.api is None else config.api.requests_per_minute)

        def set_rate(per_minute: int) -> None:
            rate.per_minute = per_minute

        tokens = TokenDesk(database, clock, lambda: running().rules.policy)
        return cls(tokens, KeptSettings(database, config, set_rate), rate)

    @asynccontextmanager
    async def serving(
        self,
        config: ControlConfig,
        agents: Mapping[str, AgentEntry],
        entrance: Entrance,
        handed: Inherited,
        glance: Callable[[], Awaitable[Glance]],
    ) -> AsyncIterator[None]:
        """Put what is on record into force, and serve the interface if one is configured.

        Raises:
            PrerequisiteError: its port cannot be used.
        """
        await self.settings.restore()
        await self.tokens.load(entrance.new_trace())
        if config.api is None:
            yield
            return
        from agency.control.api.handlers import Handlers
        from agency.control.api.server import LIMITS, build_app

        operations = entrance.operations
        access = Access(self.tokens, lambda: operations.rules.policy, self.rate)
        handlers = Handlers(entrance, access, agents, glance)
        runner: web.AppRunner = make_runner(build_app(handlers), LIMITS)
        host, port = config.listen_host, config.api.listen_port
        hint = "end that program, or give the HTTP interface another port"
        await runner.setup()
        try:
            await listen(runner, handed.take(host, port) or new_socket(port, host, hint=hint))
            yield
        finally:
            await runner.cleanup()
