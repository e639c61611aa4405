"""Gateway as a process: from its configuration and tokens to a clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from agency import __version__
from agency.agent.gateway.calls.auditing import Auditor
from agency.agent.gateway.config import GatewayConfig
from agency.agent.gateway.control import LIMITS, build_control
from agency.agent.gateway.core import Gateway
from agency.agent.gateway.front import serve_front
from agency.agent.gateway.servers.running import Pace
from agency.clock import Clock
from agency.listening import listen
from agency.protocols import AuditClient
from agency.secrets import SecretValue
from agency.signals import stop_signals
from agency.unix_sockets import listen_at
from agency.web import listen as serve_on
from agency.web import make_runner

_PORT_HINT = "end that program, or give the gateway another port"
_PLACE_HINT = "make its directory, for the gateway's user alone to write"
_SHARED = 0o660  # with the group of the agent's other processes

_log = logging.getLogger(__name__)


async def serve_gateway(
    config: GatewayConfig,
    token: SecretValue,
    control_token: SecretValue,
    clock: Clock,
    pace: Pace | None = None,
) -> None:
    """Serve the agent's program and its ACP process until SIGTERM or SIGINT.

    Raises:
        PrerequisiteError: a socket or the state directory cannot be used.
        BadInputError: the journal, or the list of accepted tools, cannot be read.
    """
    _keep_out_of_the_log()
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    client = None if config.audit_socket is None else AuditClient(config.audit_socket)
    gateway = Gateway(
        config.agent,
        config.state_dir,
        clock,
        Auditor(client),
        (token, control_token),
        pace or Pace(),
    )
    uids = frozenset({os.geteuid(), *config.control_uids})
    app = build_control(gateway, control_token.reveal(), uids)
    runner = make_runner(app, LIMITS)
    await runner.setup()
    try:
        await gateway.start()
        async with serve_front(gateway.dispatcher, token.reveal(), _front_socket(config)):
            await serve_on(runner, listen_at(config.control_socket, mode=_SHARED, hint=_PLACE_HINT))
            fields = {"agent": config.agent, "version": __version__, "audited": client is not None}
            _log.info("listening", extra={"fields": fields})
            await stopping.wait()
            _log.info("stopping", extra={"fields": fields})
            await gateway.dispatcher.close()
    finally:
        await runner.cleanup()
        await gateway.close()


def _keep_out_of_the_log() -> None:
    """Keep libraries' words out of the log: they quote what servers and programs sent."""
    for name in ("mcp", "httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    # The SDK says some things by the root logger.
    return record.name != "root" or "/mcp/" not in record.pathname


def _front_socket(config: GatewayConfig) -> socket.socket:
    if config.socket is not None:
        return listen_at(config.socket, mode=_SHARED, hint=_PLACE_HINT)
    assert config.port is not None
    return listen(config.port, config.host, hint=_PORT_HINT)
