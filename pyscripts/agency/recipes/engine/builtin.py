"""Builtin engine: a child process a run, on this machine.

start ─▶ child `agency recipes run RUN` ─▶ its end ─────────────────────▶ over
cancel ─▶ SIGTERM: it tears its app down ─▶ grace ─▶ SIGKILL to its group ─┘
clean ─▶ every process with the run's marker, every orphan; then the janitor

The kernel kills the children when this process dies; `clean` then ends what they had started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.children import Child, ChildError, ChildSpec, kill_marked, start_child
from agency.orphans import end_orphans
from agency.recipes.engine.port import Build, EngineError, Phase, Status
from agency.recipes.record.run import Run

_MARKED_GRACE_S = 5.0
_REMEMBERED = 128  # ended children
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """Place of the builtin engine's runs.

    `command` makes the program of a run's id, `env` is what it gets beside what every child gets,
    `grace_s` the time for a teardown, and `janitor` removes what dead runs left on the swarm. With
    `adopts` this process is the parent of all orphans, and has no children but runs.
    """

    command: Callable[[str], Sequence[str]]
    env: Mapping[str, str]
    artifacts: Path
    grace_s: float
    janitor: Callable[[], None]
    adopts: bool = False


@dataclass(slots=True)
class _Started:
    child: Child
    stopping: asyncio.Task[None] | None = None
    fault: str = ""  # of a stop that failed


class BuiltinEngine:
    """Builtin engine. Its builds end with it."""

    name = "builtin"
    outlives = False

    def __init__(self, site: Site) -> None:
        self._site = site
        self._started: dict[str, _Started] = {}
        self._cleaning = asyncio.Lock()

    async def start(self, run: Run) -> Build:
        """Start the child of a run, in an empty directory for its artifacts."""
        self._forget()
        place = self._site.artifacts / run.id
        try:
            if place.exists():  # of a start whose engine was killed
                await asyncio.to_thread(shutil.rmtree, place)
            (place / "logs").mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise EngineError(
                f"cannot keep its results: {error.strerror or error}",
                where=str(place),
                hint="free some space on its disk",
            ) from error
        spec = ChildSpec(
            name=f"run {run.id}",
            argv=self._site.command(run.id),
            env=self._site.env,
            cwd=self._site.artifacts,
            log_path=place / "logs" / "progress.log",
        )
        self._started[run.id] = _Started(await start_child(spec, marker=run.id))
        return Build(run.id)

    async def find(self, run: Run) -> Build | None:
        """Find the child of a run."""
        return Build(run.id) if run.id in self._started else None

    async def state(self, build: Build) -> Status:
        """Return the state of a child; one of another process of this program is lost."""
        started = self._started.get(build.id)
        if started is None:
            return Status(Phase.LOST)
        if started.fault:
            raise EngineError(started.fault, where=f"run {build.id}")
        code = started.child.exit_status
        if code is None or (started.stopping is not None and not started.stopping.done()):
            return Status(Phase.RUNNING)
        return _ended(code)

    async def cancel(self, build: Build) -> None:
        """Ask the child for its teardown; kill it where that does not end."""
        started = self._started.get(build.id)
        if started is not None and started.stopping is None:
            started.stopping = asyncio.create_task(self._stop(started))

    async def clean(self, run: Run) -> None:
        """End every process of a run, and remove what is left of its app."""
        started = self._started.get(run.id)
        if started is not None:
            await started.child.stop(0)
        # One at a time: two janitors would only wait for each other's locks and the same swarm.
        async with self._cleaning:
            await asyncio.to_thread(kill_marked, run.id, _MARKED_GRACE_S)
            if self._site.adopts:
                await end_orphans(_Own(self._started))
            await asyncio.to_thread(self._site.janitor)

    def logs_url(self, build: Build) -> str:  # noqa: ARG002 - the port's signature
        """Return nothing: the dashboard shows the logs."""
        return ""

    async def close(self) -> None:
        """Have every child tear its app down, all at once."""
        for run in self._started:
            await self.cancel(Build(run))
        stops = [each.stopping for each in self._started.values() if each.stopping is not None]
        await asyncio.gather(*stops)

    def _forget(self) -> None:
        """Forget the oldest ends; the newest are kept, since the record may not have them yet."""
        ended = [run for run, one in self._started.items() if one.child.exit_status is not None]
        for run in ended[:-_REMEMBERED]:
            del self._started[run]

    async def _stop(self, started: _Started) -> None:
        try:
            await started.child.stop(self._site.grace_s)
        except ChildError as error:
            started.fault = error.message
            _log.error("%s", error)


@dataclass(frozen=True, slots=True)
class _Own(Container[int]):
    """The children that are runs, also those that begin while it is looked for others."""

    started: Mapping[str, _Started]

    def __contains__(self, pid: object) -> bool:
        return any(one.child.pid == pid for one in self.started.values())


def _ended(code: int) -> Status:
    if code == 0:
        return Status(Phase.PASSED)
    if code < 0:
        return Status(Phase.ERROR, f"signal {-code}")
    return Status(Phase.FAILED if code == 1 else Phase.ERROR, f"exit status {code}")


def child_environment() -> dict[str, str]:
    """Return what a run's program needs of this one's environment."""
    names = (
        "DOCKER_HOST",
        "CREDENTIALS_DIRECTORY",
        "XDG_STATE_HOME",
        "PYTHONPATH",
        "SSL_CERT_FILE",
    )
    return {name: os.environ[name] for name in names if name in os.environ}
