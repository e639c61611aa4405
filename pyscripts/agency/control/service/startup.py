"""Steps before the control plane takes commands, and the errors with which each may refuse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web
from sqlalchemy.engine import Connection

from agency import locks, naming
from agency.clock import Clock
from agency.control.agents.inventory import Inventory
from agency.control.appservice.server import server_limits
from agency.control.config import ControlConfig
from agency.control.runtimes import registry
from agency.control.runtimes.base import Runtime
from agency.control.runtimes.beside.base import nothing_beside
from agency.control.runtimes.beside.hosted import nothing_hosted
from agency.control.runtimes.handover import CHECK_PLACE, cannot_write
from agency.control.service.programs import Whose, besides_of, crews_of, hosted_of
from agency.control.service.upkeep import RoomUpkeep
from agency.control.store import agents, audit, schema
from agency.errors import PrerequisiteError
from agency.listening import Inherited
from agency.listening import listen as new_socket
from agency.matrix import Backoff, MatrixError, MatrixSession, RoomLostError, client_path
from agency.store import Database, check_whole, migrate
from agency.web import listen as serve_on
from agency.web import make_runner

_log = logging.getLogger(__name__)

_ABSENT_S = 0.2
_RESTORE = (
    "keep the file as evidence, then `agency backup restore latest --in-place --yes-replace HOST` "
    "brings back the last backup; docs/backup-restore.md has the steps"
)


@contextmanager
def only_one(config: ControlConfig) -> Iterator[None]:
    """Lock the state directory, so that no second control plane uses it.

    Raises:
        PrerequisiteError: another control plane holds it, or it cannot be written.
    """
    path = config.state_dir / "control.lock"
    busy = PrerequisiteError(
        "another control plane runs in this state directory",
        where=str(config.state_dir),
        hint="stop it first",
    )
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise cannot_write(path, error) from error
    with locks.only_one(path, busy, hint=CHECK_PLACE):
        yield


async def prepare_store(database: Database, config: ControlConfig, clock: Clock) -> Inventory:
    """Migrate the database, open the audit log, and make the inventory from both.

    Raises:
        BadInputError: the database is damaged, or its audit log does not end where it was left.
    """
    await check_whole(database, _RESTORE)
    await migrate(database, schema.SCHEMA)
    names = {agent.name for agent in config.agents}

    def prepare(connection: Connection) -> Inventory:
        audit.open_log(connection, config.instance, clock)
        agents.synchronise(connection, names, clock.now_ms())
        return Inventory(config.agents, agents.created(connection))

    return await database.write(prepare)


async def listen(app: web.Application, config: ControlConfig, handed: Inherited) -> web.AppRunner:
    """Serve the application, on a socket that was handed over or on a new one.

    Raises:
        PrerequisiteError: another program has the port, or it cannot be used.
    """
    hint = "end that program, or give the control plane another port"
    host, port = config.listen_host, config.listen_port
    listening = handed.take(host, port) or new_socket(port, host, hint=hint)
    runner = make_runner(app, server_limits(config.limits.max_transaction_bytes))
    await runner.setup()
    await serve_on(runner, listening)
    return runner


async def set_up_room(
    upkeep: RoomUpkeep, config: ControlConfig, clock: Clock, backoff: Backoff
) -> str:
    """Set up the control room, retrying until the homeserver answers; return the room's id.

    A room that the bot cannot enter is waited for without limit: it is not ready until then, and
    says why.

    Raises:
        PrerequisiteError: the homeserver refuses, or does not answer within the limit.
    """
    deadline = clock.steady() + config.limits.setup_timeout_s
    attempt, last = 0, ""
    while True:
        try:
            state = await upkeep.ensure(upkeep.room_id)
        except RoomLostError as error:
            attempt += 1
            upkeep.lost(error)
            deadline = clock.steady() + config.limits.setup_timeout_s
            await asyncio.sleep(backoff.delay_s(attempt))
        except MatrixError as error:
            attempt += 1
            # A server that is not up yet is asked often: a refused connection costs it nothing.
            absent = error.status is None
            delay_s = _ABSENT_S if absent else backoff.delay_s(attempt, error.retry_after_s)
            _check_hope(error, config, in_time=clock.steady() + delay_s <= deadline)
            if error.message != last:
                last = error.message
                _log.info(
                    "waiting for the homeserver: %s", last, extra={"fields": {"where": error.where}}
                )
            await asyncio.sleep(delay_s)
        else:
            await upkeep.settle(state)
            return state.id


def _check_hope(error: MatrixError, config: ControlConfig, *, in_time: bool) -> None:
    """Raise if asking the homeserver again is of no use."""
    if not error.temporary:
        raise PrerequisiteError(
            f"the homeserver refuses: {error.message}", where=error.where, hint=_setup_hint(error)
        ) from error
    if not in_time:
        raise PrerequisiteError(
            f"the homeserver was not usable within {config.limits.setup_timeout_s:g} s: "
            f"{error.message}",
            where=config.homeserver_url,
            hint="check that it runs and that homeserver_url is right",
        ) from error


def _setup_hint(error: MatrixError) -> str:
    """Return what mends a refusal, from its reason."""
    if error.errcode in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_EXCLUSIVE") or (
        error.status == 401
    ):
        return "check that it has loaded the agency's registration, with these tokens"
    if "/createRoom" in (error.where or ""):
        return "the homeserver does not let the bot make a room; its configuration and log say why"
    return "the homeserver's log says why it refuses this call"


async def announce(api: MatrixSession) -> None:
    """Ping the homeserver, so that it delivers at once the transactions that it held back."""
    path = client_path("appservice", naming.APPSERVICE_ID, "ping", version="v1")
    try:
        await api.request("POST", path, {"transaction_id": "start"})
    except MatrixError as error:
        _log.warning("the homeserver does not reach this server: %s", error.message)


def open_runtimes(
    config: ControlConfig,
    clock: Clock,
    handed: Inherited | None = None,
    ports: Mapping[str, int] | None = None,
    api: MatrixSession | None = None,
    whose: Whose | None = None,
) -> Runtime:
    """Make the runtimes that the configuration names. Raises as runtimes.registry does.

    `handed` holds the listening sockets of agents that were handed over; `ports` are those of all
    agents, as they change; `api` is needed by agents that have a program, and `whose` by slots that
    have one.
    """
    known = whose or {agent.name: agent for agent in config.agents}.__getitem__
    settings = registry.RuntimeSettings(
        state_dir=config.state_dir,
        ports={agent.name: agent.port for agent in config.agents} if ports is None else ports,
        stop_timeout_s=config.limits.agent_stop_timeout_s,
        clock=clock,
        handed=handed or Inherited(),
        instance=config.instance,
        docker=config.docker,
        besides=nothing_beside if api is None else besides_of(config, api, known),
        crews=None if api is None else crews_of(config, api, known),
        hosted=nothing_hosted if api is None else hosted_of(config, api, known),
    )
    chosen = {agent.name: agent.runtime for agent in config.agents if agent.runtime is not None}
    return registry.open_runtimes(config.runtime, chosen, settings)
