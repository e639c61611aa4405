"""Opening of a control plane: what it holds is taken in order, and given back in reverse.

lock of the state directory ──▶ database and its hold ──▶ store ──▶ homeserver, agents, runtimes
                                                                        └──▶ ControlPlane
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from agency.clock import Clock
from agency.control.acp_client import AcpClient
from agency.control.conditions import Conditions
from agency.control.config import ControlConfig
from agency.control.runtimes.base import Runtime
from agency.control.runtimes.slots import SlottedRuntime
from agency.control.service import startup
from agency.control.service.plane import ControlPlane
from agency.control.service.shared import Tokens
from agency.listening import Inherited
from agency.matrix import MatrixSession, client_session
from agency.signals import stop_signals
from agency.store import Holder, hold, open_database, parse_url

_log = logging.getLogger(__name__)

_RUNTIME_CLOSE_S = 1.5  # with the limits of `plane` under the 5 s in which a clean stop must end


@asynccontextmanager
async def control_plane(
    config: ControlConfig,
    tokens: Tokens,
    *,
    clock: Clock,
    make_runtime: Callable[[ControlConfig, Clock], Runtime] | None = None,
    handed: Inherited | None = None,
) -> AsyncIterator[ControlPlane]:
    """Make a control plane with its store ready; give back what it holds at the end.

    `handed` holds the listening sockets that whoever started this process made.

    Raises:
        AgencyError: a prerequisite is missing or wrong.
    """
    handed = handed or Inherited()
    async with AsyncExitStack() as stack:
        stack.enter_context(startup.only_one(config))
        database = open_database(config.database_url)
        stack.push_async_callback(database.close)
        holder = Holder.here(config.state_dir)
        held = await stack.enter_async_context(hold(parse_url(config.database_url), holder))
        inventory = await startup.prepare_store(database, config, clock)
        session = await stack.enter_async_context(client_session())
        api = MatrixSession(config.homeserver_url, session, tokens.as_token.reveal())
        acp = await stack.enter_async_context(AcpClient())
        make = partial(
            startup.open_runtimes,
            handed=handed,
            ports=inventory.ports,
            api=api,
            whose=inventory.occupant,
        )
        runtime = SlottedRuntime((make_runtime or make)(config, clock), lambda: inventory.slots)
        stack.push_async_callback(_close_runtime, runtime)
        conditions = Conditions(clock)
        yield ControlPlane(
            config, clock, database, api, runtime, acp, held, conditions, inventory, handed
        )


async def _close_runtime(runtime: Runtime) -> None:
    """End the agents of a runtime that cannot outlive this process.

    An agent that does not end in time is killed with it.
    """
    try:
        async with asyncio.timeout(_RUNTIME_CLOSE_S):
            await runtime.close()
    except TimeoutError:
        _log.warning("agents did not end in time; they end with this process")


async def serve(
    config: ControlConfig, tokens: Tokens, *, clock: Clock, handed: Inherited | None = None
) -> None:
    """Run a control plane until SIGTERM or SIGINT."""
    async with control_plane(config, tokens, clock=clock, handed=handed) as plane:
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, plane.stopping.set)
        await plane.run(tokens)
    _log.info("stopped")
