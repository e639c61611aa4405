"""Agent as a process: from its configuration and token to a clean end."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
from pathlib import Path

from aiohttp import web

from agency import __version__, naming
from agency.agent.recording import Recorder
from agency.agent.server import LIMITS, build_app
from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.protocols import SOCKET, TOKEN_CREDENTIAL, AgentConfig, AuditClient
from agency.secrets import read_credential
from agency.settings import load
from agency.signals import stop_signals
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
    if not _is_loopback(config.host):
        raise BadInputError(
            f"host: {config.host} is not a loopback address",
            where=str(path),
            hint="an agent serves its control interface on 127.0.0.1 or ::1 only",
        )
    return config


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name may resolve to anything
        return False


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


async def serve(config: AgentConfig, token: str, clock: Clock, audit_socket: Path = SOCKET) -> None:
    """Serve ACP until SIGTERM or SIGINT; record start, stop and accepted requests in the audit log.

    Raises:
        PrerequisiteError: the port is taken or may not be used.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stopping.set)
    async with Recorder(AuditClient(audit_socket)) as recorder:
        await _serve(config, build_app(config, token, clock, recorder), recorder, stopping)


async def _serve(
    config: AgentConfig, app: web.Application, recorder: Recorder, stopping: asyncio.Event
) -> None:
    runner = make_runner(app, LIMITS)
    await runner.setup()
    try:
        await _listen(runner, config)
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
        await stopping.wait()
        _log.info("stopping", extra={"fields": fields})
        recorder.put("agent.stopping")
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, config: AgentConfig) -> None:
    site = web.TCPSite(runner, config.host, config.port)
    try:
        await site.start()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise PrerequisiteError(
            "the port is taken by another program"
            if taken
            else f"cannot listen: {error.strerror or error}",
            where=f"{config.host}:{config.port}",
            hint="end that program, or set another port for this agent in instance.yaml",
        ) from error
