"""The browser as a process: started, started again when it ends, and ended in good order.

lock ─▶ door ─▶ [Chromium ─▶ answers ─▶ door open ─▶ ends ─▶ pause]…
SIGTERM ─▶ Browser.close (it writes what it holds) ─▶ the end
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.children import Child, ChildSpec, kill_marked, start_child
from agency.clock import new_id
from agency.errors import AgencyError
from agency.files import private_directory
from agency.locks import only_one
from agency.signals import stop_signals
from agency.workspace.browser import descriptors
from agency.workspace.browser.door import Door, listen_beside, serving
from agency.workspace.browser.launching import (
    BOUNDS,
    BrowserPlaces,
    arguments_of,
    environment_of,
    find_browser,
)
from agency.workspace.browser.pipe import BrowserError, Pipe, open_pipe
from agency.workspace.config import AgentSettings, BrowserSettings

_CLOSE_S = 10.0
_WORDS_S = 1.0
# What a killed Chromium leaves in its profile; the lock of ours says that nobody uses it.
_SINGLETONS = ("SingletonLock", "SingletonSocket", "SingletonCookie")
_LOG_LINES, _LOG_BYTES = 5, 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Pauses before the browser is started again; one that lived `well_s` begins with the first."""

    first_s: float = 0.5
    longest_s: float = 60.0
    well_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row. Pure."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))


@dataclass(slots=True)
class Keeper:
    """Keeps one agent's browser running."""

    agent: AgentSettings
    settings: BrowserSettings
    places: BrowserPlaces
    pace: Pace = field(default_factory=Pace)
    python: str = sys.executable
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    door: Door = field(default_factory=Door)

    async def run(self) -> None:
        """Keep it until a signal asks to stop.

        Raises:
            PrerequisiteError: there is no Chromium, or a place cannot be used.
            AgencyError: another process keeps this agent's browser.
        """
        private_directory(self.places.state)
        busy = AgencyError(
            "another process runs this agent's browser",
            where=str(self.places.state),
            hint="end it first: one profile is for one browser",
        )
        with only_one(self.places.state / "lock", busy):
            program = find_browser()
            async with serving(self.door, listen_beside(self.places.socket)):
                work = asyncio.ensure_future(self._keep(program))
                for number in stop_signals():
                    asyncio.get_running_loop().add_signal_handler(number, work.cancel)
                with contextlib.suppress(asyncio.CancelledError):
                    await work
            self.places.socket.unlink(missing_ok=True)

    async def _keep(self, program: str) -> None:
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                why = await self._live(program)
            except AgencyError as error:
                why = str(error)
            failures = 1 if loop.time() - begun >= self.pace.well_s else failures + 1
            _log.warning("the browser ended, and is started again", extra={"fields": {"why": why}})
            await self.sleep(self.pace.pause_s(failures))

    async def _live(self, program: str) -> str:
        """Run the browser once; return how it ended."""
        marker = new_id("browser")
        ours, theirs = socket.socketpair()
        with theirs:
            child = await start_child(self._spec(program, theirs.fileno()), marker=marker)
        pipe = await open_pipe(ours)
        pump = asyncio.ensure_future(self.door.pump(pipe))
        watch = asyncio.ensure_future(child.wait())
        try:
            await self._open(pipe, child)
            await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
            return _why(pump, child)
        except BrowserError as error:
            with contextlib.suppress(TimeoutError):  # its own words say more
                async with asyncio.timeout(_WORDS_S):
                    await child.wait()
            return f"{error.message}: {_why(pump, child)}"
        except asyncio.CancelledError:
            await self._close(pipe, child)
            raise
        finally:
            await self.door.closed()
            await child.stop(_CLOSE_S)
            await asyncio.to_thread(kill_marked, marker, _CLOSE_S)
            for each in (pump, watch):
                each.cancel()
            await asyncio.gather(pump, watch, return_exceptions=True)
            await pipe.close()

    async def _open(self, pipe: Pipe, child: Child) -> None:
        version = await pipe.call("Browser.getVersion")
        self.places.downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
        await pipe.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(self.places.downloads),
        )
        self.door.opened(pipe)
        fields = {"agent": self.agent.name, "pid": child.pid, "product": version.get("product")}
        _log.info("the browser runs", extra={"fields": fields})

    async def _close(self, pipe: Pipe, child: Child) -> None:
        """Have it write down what it holds, and end."""
        with contextlib.suppress(BrowserError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await pipe.call("Browser.close")
                await child.wait()

    def _spec(self, program: str, number: int) -> ChildSpec:
        places = self.places
        private_directory(places.profile)
        for name in _SINGLETONS:
            (places.profile / name).unlink(missing_ok=True)
        places.log.unlink(missing_ok=True)
        inner = (self.python, "-I", descriptors.__file__, str(number), program)
        return ChildSpec(
            name=f"browser of {self.agent.name}",
            argv=(*BOUNDS.prefix(), *inner, *arguments_of(self.settings, places.profile)),
            env=environment_of(self.settings, self.agent.home),
            cwd=self.agent.home,
            log_path=places.log,
            pass_fds=(number,),
        )


def _why(pump: asyncio.Future[None], child: Child) -> str:
    status = child.exit_status
    if status is not None:
        said = " ".join(child.log_tail(_LOG_LINES, _LOG_BYTES))
        return f"exit status {status}: {said}"[:1000]
    error = pump.exception() if pump.done() else None
    return str(error or "it closed its pipe")


async def run_browser(
    agent: AgentSettings, settings: BrowserSettings, places: BrowserPlaces
) -> None:
    """Run the agent's browser until a signal asks to stop; errors are those of `Keeper.run`."""
    await Keeper(agent, settings, places).run()
