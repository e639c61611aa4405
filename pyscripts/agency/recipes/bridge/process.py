"""The bridge as a process: from its configuration and credentials to a clean end."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.forge import Forge, gitea_forge, gitlab_forge
from agency.listening import Inherited, listen
from agency.recipes.bridge.front import LIMITS, Front
from agency.recipes.bridge.judging import Judge, allowed_accounts
from agency.recipes.bridge.looking import ForgeClock, Looker
from agency.recipes.bridge.memory import Kind, Memory
from agency.recipes.bridge.numbers import Numbers
from agency.recipes.bridge.service import Bridge
from agency.recipes.bridge.telling import Teller
from agency.recipes.configuration import RecipesConfig
from agency.recipes.naming import run_id
from agency.recipes.record.runs import Runs, open_runs
from agency.secrets import FORGE_BOT_TOKEN, SecretValue, has_credential, names, read_credential
from agency.signals import stop_signals
from agency.web import listen as serve_on
from agency.web import make_runner

_HOST = "127.0.0.1"
_HOUR_S = 3600

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The bot's token, and the hook's secret; without one there is no hook."""

    token: SecretValue
    hook: SecretValue | None


def read_credentials() -> Credentials:
    """Read the credentials of the unit.

    Raises:
        PrerequisiteError: the token is missing.
    """
    hook = None
    if has_credential(names.WEBHOOK_HMAC):
        try:
            hook = read_credential(names.WEBHOOK_HMAC)
        except PrerequisiteError as error:
            _log.warning("the hook is off", extra={"fields": {"reason": str(error)}})
    return Credentials(read_credential(FORGE_BOT_TOKEN), hook)


async def serve_bridge(
    config: RecipesConfig,
    credentials: Credentials,
    poll_s: float,
    clock: Clock,
    handed: Inherited | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `handed` may hold the listening socket.

    Raises:
        PrerequisiteError: the port is taken, or the record cannot be opened.
    """
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with serving(config, credentials, poll_s, clock, handed) as bridge:
        work = asyncio.create_task(bridge.run())
        stop = asyncio.create_task(stopping.wait())
        fields = {"projects": len(bridge.wake), "hook": credentials.hook is not None}
        _log.info("watching", extra={"fields": fields})
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            work.result()  # it ends by a failure alone, which is raised here
        _log.info("stopping")
        work.cancel()
        await asyncio.wait((work,))


@asynccontextmanager
async def serving(
    config: RecipesConfig,
    credentials: Credentials,
    poll_s: float,
    clock: Clock,
    handed: Inherited | None = None,
) -> AsyncIterator[Bridge]:
    """Open record, forge and port, and make the bridge of them; the caller runs it."""
    async with AsyncExitStack() as stack:
        port = config.ports.bridge
        listening = (handed or Inherited()).take(_HOST, port) or listen(port, _HOST)
        stack.callback(listening.close)  # of two bridges, one has the port
        runs = await stack.enter_async_context(open_runs(config.state, clock))
        opened = gitea_forge if config.forge.kind == "gitea" else gitlab_forge
        token = credentials.token.reveal()
        forge = await stack.enter_async_context(opened(config.forge.url, token))
        bridge = make_bridge(config, forge, runs, poll_s, clock)
        front = Front(credentials.hook, _wakers(bridge), bridge.numbers, runs, clock)
        runner = make_runner(front.app(), LIMITS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await serve_on(runner, listening)
        yield bridge


def make_bridge(
    config: RecipesConfig, forge: Forge, runs: Runs, poll_s: float, clock: Clock
) -> Bridge:
    """Make the bridge of a forge and a record."""
    numbers = Numbers(clock.steady, {})
    memory = Memory(runs, clock.now_ms)
    dashboard = config.hosts.dashboard
    looker = Looker(
        forge=forge,
        clock=ForgeClock(forge, clock.steady),
        memory=memory,
        judge=Judge(forge, dashboard, allowed_accounts(config.bridge.allow)),
        recipes=dict(config.recipe_of),
        max_age_s=config.bridge.max_age_hours * _HOUR_S,
        new_run=lambda: run_id(secrets.token_bytes(5)),
        told=partial(_count_kind, numbers),
    )
    count = partial(_count_told, numbers)
    teller = Teller(forge, runs, memory, dashboard, clock.steady, count)
    return Bridge(looker, teller, numbers, clock, poll_s)


def _count_kind(numbers: Numbers, kind: Kind) -> None:
    numbers.comments[kind] += 1


def _count_told(numbers: Numbers, what: str) -> None:
    numbers.told[what] += 1


def _wakers(bridge: Bridge) -> dict[str, Callable[[], None]]:
    return {project.lower(): event.set for project, event in bridge.wake.items()}
