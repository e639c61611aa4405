"""One server, kept running: started, listed, looked at, and started again after a pause.

starting ─▶ ok ◀─▶ cut off (its tools changed)
   ▲        │ ends, hangs, lies
   └─ pause ┴─▶ failing           the pause doubles, up to a minute; a good while resets it
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from agency.agent.gateway.calls.dispatch import ServerAwayError, ServerGoneError
from agency.agent.gateway.calls.results import Raw
from agency.agent.gateway.calls.tools import Tool, ToolOffer, list_digest, usable
from agency.agent.gateway.servers.acceptance import Acceptances, Difference, difference
from agency.agent.gateway.servers.connection import CALL_S, Connection, ServerError, connect
from agency.agent.gateway.servers.stdio import Said, Streams
from agency.clock import Clock
from agency.errors import AgencyError
from agency.protocols import GatewayServer

LOOK_S = 30.0  # between two looks at its list of tools
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
_GOOD_S = 60.0  # after so long a run the pause begins anew

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of one server; tests have shorter ones."""

    look_s: float = LOOK_S
    first_pause_s: float = _FIRST_PAUSE_S
    longest_pause_s: float = _LONGEST_PAUSE_S
    call_s: float = CALL_S


@dataclass(slots=True)
class Server:
    """A server of the Gosuto. `talk` opens its streams; `changed` is told of another tool list."""

    name: str
    spec: str
    talk: Callable[[Said], AbstractAsyncContextManager[Streams]]
    acceptances: Acceptances
    clock: Clock
    changed: Callable[[str, str, Difference], None]
    redact: Callable[[str], str]
    restart: bool = True
    pace: Pace = field(default_factory=Pace)
    tools: tuple[Tool, ...] = ()
    cut_off: bool = False
    health: str = "starting"
    reason: str = ""
    restarts: int = 0
    calls: int = 0
    said: Said = field(default_factory=Said)
    _offers: tuple[ToolOffer, ...] | None = None
    _connection: Connection | None = None
    _work: asyncio.Task[None] | None = None
    _gone: asyncio.Future[None] = field(default_factory=asyncio.Future)
    _looked: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: bool = False

    def start(self) -> None:
        """Begin to run it."""
        self._work = asyncio.create_task(self._keep(), name=f"server {self.name}")

    def fail(self, reason: str) -> None:
        """Do not run it, and say why."""
        self.health, self.reason = "failing", reason
        self._looked.set()

    async def settled(self) -> None:
        """Wait until it was looked at once, or failed."""
        await self._looked.wait()

    async def stop(self, drain_s: float = 0.0) -> None:
        """End it, after its calls, for which is waited `drain_s` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self.calls:  # noqa: ASYNC110 - rare, and without an event of its own
                    await asyncio.sleep(0.05)
        self._ending = True
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def call(self, tool: Tool, args: Mapping[str, Any]) -> Raw:
        """Call one of its tools: for the dispatcher alone.

        Raises:
            ServerAwayError: the call was not made. ServerGoneError: nobody knows.
        """
        connection = self._connection
        if connection is None or self.cut_off or tool not in self.tools:
            raise ServerAwayError(f"the server {self.name} is not there now: {self.reason}")
        self.calls += 1
        made = asyncio.ensure_future(connection.call(tool.name, args, self.pace.call_s))
        try:
            # The SDK leaves a request waiting whose session was closed, so its end is waited for
            # too; and more than the request's own limit, for a session that does not keep that.
            waits: set[asyncio.Future[Any]] = {made, self._gone}
            await asyncio.wait(
                waits,
                timeout=self.pace.call_s + 5,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not made.done():
                raise ServerGoneError(f"the server {self.name} ended or did not answer")
            return made.result()
        finally:
            made.cancel()
            self.calls -= 1

    def offers(self, list_sha256: str) -> bool:
        """Return whether the tools that it offers now have this digest."""
        return self._offers is not None and list_digest(self._offers) == list_sha256

    def accept(self, list_sha256: str) -> bool:
        """Accept the tools that it offers now, if they have this digest."""
        if self._offers is None or not self.offers(list_sha256):
            return False
        self.acceptances.accept(self.name, self.spec, self._offers)
        self._offer(self._offers)
        return True

    def remind(self) -> None:
        """Tell again of tools that nobody has looked at; the question may have expired."""
        accepted = self.acceptances.known(self.name, self.spec)
        if self.cut_off and self._offers is not None and accepted is not None:
            change = difference(accepted, self._offers)
            self.changed(self.name, list_digest(self._offers), change)

    def report(self) -> GatewayServer:
        """Tell its state."""
        offers = self._offers
        return GatewayServer.model_validate(
            {
                "name": self.name,
                "health": "failing" if self.cut_off else self.health,
                "reason": "its tools changed; look at them" if self.cut_off else self.reason[:200],
                "restarts": self.restarts,
                "tools": len(self.tools),
                "list_sha256": None if offers is None else list_digest(offers),
                "cut_off": self.cut_off,
            }
        )

    async def _keep(self) -> None:
        pause_s = self.pace.first_pause_s
        while True:
            begun = self.clock.steady()
            self.said, self._gone = Said(), asyncio.Future()
            self.health = "starting"
            try:
                await self._run()
            except AgencyError as error:
                fault = error.message
            except Exception as error:  # noqa: BLE001 - a server must not end the gateway
                fault = f"it failed: {type(_first(error)).__name__}"
            finally:
                self._connection, self.tools = None, ()
                self._gone.set_result(None)
            if self._ending:  # a group of tasks tells of its own fault alone, not of a cancellation
                return
            self.health, self.reason = "failing", self.said.fault or fault
            self._looked.set()
            last = self.said.window.decode(errors="replace").strip().rpartition("\n")[2]
            fields = {"server": self.name, "reason": self.reason, "last": self.redact(last)[:200]}
            _log.warning("an MCP server ended", extra={"fields": fields})
            if not self.restart:
                return
            if self.clock.steady() - begun > _GOOD_S:
                pause_s = self.pace.first_pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self.pace.longest_pause_s)
            self.restarts += 1

    async def _run(self) -> None:
        """Run it until it fails; raise why."""
        async with connect(self.talk(self.said), self.said.wake) as connection:
            while True:
                self.said.wake.clear()
                offers = await connection.offers()
                self._connection, self.health = connection, "ok"
                self._judge(offers)
                self._looked.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.pace.look_s):
                        await self.said.wake.wait()
                if self.said.fault:
                    raise ServerError(self.said.fault)
                await asyncio.sleep(self.pace.first_pause_s)  # for one that says so all the time

    def _judge(self, offers: tuple[ToolOffer, ...]) -> None:
        """Offer an accepted or a first list; cut off at another one."""
        same = offers == self._offers and (self.tools or self.cut_off)
        self._offers = offers
        if same:
            self.remind()
            return
        accepted = self.acceptances.known(self.name, self.spec)
        if accepted is None:
            self.acceptances.accept(self.name, self.spec, offers)
        elif accepted.list_sha256 != list_digest(offers):
            self.tools, self.cut_off = (), True
            change = difference(accepted, offers).text()[:300]
            _log.error(
                "an MCP server changed its tools and is cut off",
                extra={"fields": {"server": self.name, "change": change}},
            )
            self.remind()
            return
        self._offer(offers)

    def _offer(self, offers: tuple[ToolOffer, ...]) -> None:
        self.tools, refused = usable(self.name, offers)
        self.cut_off = False
        self.reason = f"{len(refused)} tools cannot be called" if refused else ""
        for each in refused:
            fields = {"server": self.name, "why": each[:200]}
            _log.warning("a tool cannot be called", extra={"fields": fields})


def _first(error: BaseException) -> BaseException:
    """Find the first fault in a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
