"""Program `agency recipes runner`: the runner with its engine, metrics and health on loopback."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from agency.clock import Clock
from agency.docker import DEFAULT_URL
from agency.errors import PrerequisiteError
from agency.listening import listen
from agency.locks import only_one
from agency.orphans import adopt
from agency.recipes.configuration import RecipesConfig
from agency.recipes.engine.builtin import BuiltinEngine, Site, child_environment
from agency.recipes.engine.numbers import metrics
from agency.recipes.engine.port import Engine
from agency.recipes.engine.remote.making import make_remote
from agency.recipes.engine.runner import Bounds, Runner
from agency.recipes.engine.single import layout
from agency.recipes.record.retention import Retention
from agency.recipes.record.runs import Runs, open_runs
from agency.recipes.run import janitor
from agency.recipes.run.swarm import Swarm
from agency.signals import stop_signals
from agency.web import Limits, as_json, make_app, make_runner, metrics_answer
from agency.web import listen as serve_on

Command = Callable[[str], Sequence[str]]
TEARDOWN_S = 240.0  # below the unit's TimeoutStopSec, which ends all that is left
_SLACK_S = 60.0  # what killing and cleaning may take on top of it
POLL_S = 1.0
_LIMITS = Limits(body_bytes=1024, shutdown_s=1.0, linger_s=1.0)
_log = logging.getLogger(__name__)


async def serve(
    config: RecipesConfig, command: Command, docker_url: str | None, clock: Clock
) -> None:
    """Serve until SIGTERM or SIGINT; `command` makes the program of a run's id.

    Raises:
        PrerequisiteError: another engine has this state, or the record or the port cannot be used.
    """
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running(config, command, docker_url or DEFAULT_URL, clock) as runner:
        _log.info("runs are taken", extra={"fields": {"at a time": config.max_tests}})
        while not stopping.is_set():
            await runner.step()
            try:
                async with asyncio.timeout(POLL_S):
                    await stopping.wait()
            except TimeoutError:
                continue
        _log.info("stopping: what runs is torn down and queued again")


@asynccontextmanager
async def running(
    config: RecipesConfig, command: Command, docker_url: str, clock: Clock
) -> AsyncIterator[Runner]:
    """Hold the state of recipe CI for one runner, which is closed at the end of the block."""
    busy = PrerequisiteError(
        "another engine takes the runs of this state",
        where=str(config.state),
        hint="systemctl stop agency-runner, or end the other `agency recipes runner`",
    )
    async with AsyncExitStack() as stack:
        places = layout(config.state)
        adopt()
        _make(places.artifacts, places.apps)
        stack.enter_context(only_one(config.state / "engine.lock", busy))
        runs = await stack.enter_async_context(open_runs(config.state, clock))
        engine = make_engine(config, command, docker_url, clock)
        bounds = Bounds(config.max_tests, config.build_timeout_minutes, TEARDOWN_S + _SLACK_S)
        runner = Runner(runs, engine, places.artifacts, bounds, clock)
        stack.push_async_callback(runner.close)
        if config.retention_days is not None:
            retention = Retention(runs, places.artifacts, config.retention_days, clock)
            stack.push_async_callback(_ended, asyncio.create_task(retention.keep()))
        if config.ports.runner is not None:
            app = make_runner(_pages(runner, runs, config.max_tests), _LIMITS)
            await app.setup()
            stack.push_async_callback(app.cleanup)
            await serve_on(app, listen(config.ports.runner))
        yield runner


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def make_engine(config: RecipesConfig, command: Command, docker_url: str, clock: Clock) -> Engine:
    """Make the engine that the configuration names."""
    places = layout(config.state)

    def reap() -> None:
        swarm = Swarm(docker_url, clock)
        janitor.reap(places.apps, swarm, docker_url, lambda text: _log.info("%s", text))

    if config.engine != "builtin":
        return make_remote(config, reap)
    return BuiltinEngine(
        Site(
            command=command,
            env=child_environment(),
            artifacts=places.artifacts,
            grace_s=TEARDOWN_S,
            janitor=reap,
            adopts=True,
        )
    )


def own_command(path: Path) -> Command:
    """Return what makes the program of a run, with the configuration at `path`."""
    own = (sys.executable, "-m", "agency", "recipes", "run", "--config", str(path.resolve()))
    return lambda run: (*own, "--", run)


def _make(*directories: Path) -> None:
    for directory in directories:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be made: {error.strerror or error}",
                where=str(directory),
                hint="the state of recipe CI must be a directory of this user",
            ) from error


def _pages(runner: Runner, runs: Runs, capacity: int) -> web.Application:
    async def numbers(_: web.Request) -> web.Response:
        body = metrics(runner.numbers, await runs.counts(), capacity)
        return metrics_answer(body)

    async def health(_: web.Request) -> web.Response:
        told = {"healthy": runner.healthy, "running": sorted(runner.watched)}
        return web.json_response(told, status=200 if runner.healthy else 503)

    app = make_app(_LIMITS, as_json)
    app.router.add_get("/metrics", numbers)
    app.router.add_get("/health", health)
    return app
