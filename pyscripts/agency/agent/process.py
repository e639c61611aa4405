"""Agent as a process: from its configuration and token to a clean end, or to a new beginning."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from functools import partial
from pathlib import Path

from aiohttp import web

from agency import __version__, naming, ports
from agency.agent.carrying import Again, Carried, write_carried
from agency.agent.dialling import DialledSite
from agency.agent.looking import Looks, telling
from agency.agent.policy import check_document
from agency.agent.recording import Recorder
from agency.agent.redeeming import redeemer
from agency.agent.server import LIMITS, build_app
from agency.agent.state import AgentState
from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.listening import Inherited, listen
from agency.protocols import (
    GATEWAY_CONTROL_TOKEN,
    SOCKET,
    TOKEN_CREDENTIAL,
    AgentConfig,
    AuditClient,
    GatewayClient,
)
from agency.secrets import read_credential
from agency.settings import load
from agency.signals import stop_signals
from agency.web import listen as serve_on
from agency.web import make_runner

_MAX_CONFIG = 64 * 1024

_log = logging.getLogger(__name__)


def load_config(path: Path) -> AgentConfig:
    """Read the agent's configuration.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: it does not match the schema, or its port could be reached from outside.
    """
    config = load(
        path,
        AgentConfig,
        most=_MAX_CONFIG,
        what="the configuration",
        hint="agents are started by their runtime, which writes this file",
    )
    if not naming.is_agent_name(config.name):
        raise BadInputError(
            "name: not the name of an agent",
            where=str(path),
            hint=naming.AGENT_NAME_HINT,
        )
    if not ports.is_loopback(config.host):
        raise BadInputError(
            f"host: {config.host} is not a loopback address",
            where=str(path),
            hint="an agent serves its control interface on 127.0.0.1 or ::1 only",
        )
    return config


def load_token() -> str:
    """Read the bearer token from the credential `acp-token`.

    Raises:
        PrerequisiteError: it is missing, empty, or not fit for an HTTP header.
    """
    token = read_credential(TOKEN_CREDENTIAL).reveal()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise PrerequisiteError(
            "the bearer token is not printable ASCII without spaces",
            where=f"credential {TOKEN_CREDENTIAL}",
            hint="let the runtime start this agent anew; it makes a fresh token",
        )
    return token


async def serve(
    config: AgentConfig,
    token: str,
    clock: Clock,
    audit_socket: Path = SOCKET,
    handed: Inherited | None = None,
    carried: Carried | None = None,
    dial: Path | None = None,
) -> Again | None:
    """Serve ACP until SIGTERM or SIGINT; record start, stop and accepted requests in the audit log.

    `handed` holds the listening socket, if whoever started this process made it; `carried` is what
    a restart kept. With `dial` it listens nowhere, and serves on connections that it makes to that
    socket of its runtime. Return the order to begin anew, if a restart was asked for; else None.

    Raises:
        PrerequisiteError: the port is taken or may not be used.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stopping.set)
    state = AgentState(
        config.name,
        clock,
        redeemer(config.redeem_socket, token),
        partial(check_document, config.name),
    )
    if carried is not None:
        state.restore(carried)
    if config.gateway_socket is not None:
        control_token = read_credential(GATEWAY_CONTROL_TOKEN).reveal()
        state.link(GatewayClient(Path(config.gateway_socket), control_token))
    looks = Looks()
    async with Recorder(AuditClient(audit_socket)) as recorder, telling(recorder, looks):
        app = build_app(config, token, clock, recorder, state, looks=looks)
        way = handed or Inherited() if dial is None else dial
        again, listening = await _serve(config, app, recorder, looks, stopping, state.restart, way)
    return Again(listening, write_carried(state.carried())) if again else None


async def _serve(
    config: AgentConfig,
    app: web.Application,
    recorder: Recorder,
    looks: Looks,
    stopping: asyncio.Event,
    restart: asyncio.Event,
    way: Inherited | Path,
) -> tuple[bool, int | None]:
    """Serve until one of both events; tell if it is a restart, and return what then listens."""
    runner = make_runner(app, LIMITS)
    await runner.setup()
    kept: int | None = None
    try:
        if isinstance(way, Path):
            await DialledSite(runner, way).start()
        else:
            listening = _listening(config, way)
            kept = os.dup(listening.fileno())  # the server closes its own
            await serve_on(runner, listening)
        fields = {"agent": config.name, "port": config.port, "trace": config.trace}
        _log.info("listening", extra={"fields": fields})
        recorder.put(
            "agent.started",
            version=__version__,
            role=config.role,
            project=config.project,
            port=config.port,
            trace=config.trace,
        )
        await _first(stopping, restart)
        again = restart.is_set() and not stopping.is_set()
        _log.info("restarting" if again else "stopping", extra={"fields": fields})
        recorder.put("agent.restarting" if again else "agent.stopping", **looks.told())
    finally:
        await runner.cleanup()
        # A stop during the clean-up counts more than the restart.
        again = restart.is_set() and not stopping.is_set()
        if kept is not None and not again:
            os.close(kept)
            kept = None
    return again, kept


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(each.wait()) for each in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


def _listening(config: AgentConfig, handed: Inherited) -> socket.socket:
    others = [f"{host}:{port}" for host, port in handed]
    made = handed.take(config.host, config.port)
    if made is None and others:
        raise PrerequisiteError(
            f"the socket that was handed over listens on {', '.join(others)}",
            where=f"{config.host}:{config.port}",
            hint="agents are started by their runtime, which hands over the right one",
        )
    if made is None:
        hint = "end that program, or set another port for this agent in instance.yaml"
        made = listen(config.port, config.host, hint=hint)
    return made
