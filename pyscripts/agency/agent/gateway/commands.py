"""`agency agent gateway`: run the tool gateway of an agent, and look at its servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.agent.config_option import config_option
from agency.commandline import emit, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from agency.protocols import GatewayServer, GatewayStatus


@click.group(invoke_without_command=True)
@config_option("The gateway's configuration, a JSON file that the agent's runtime writes.")
@json_option
@click.pass_context
def gateway(context: click.Context, config_file: Path, as_json: bool) -> None:  # noqa: ARG001
    """Serve the agent's tools to its program, each call decided by its Gosuto, until SIGTERM.

    The tokens are read from the files gateway-token (for the program) and gateway-control-token
    (for the agent's ACP process) in $CREDENTIALS_DIRECTORY. The log is JSON lines on standard
    error.
    """
    if context.invoked_subcommand is not None:
        return
    from agency.agent.gateway.config import load_gateway_config, load_gateway_token
    from agency.agent.gateway.process import serve_gateway
    from agency.clock import Clock
    from agency.commandline import log_to_stderr
    from agency.protocols import GATEWAY_CONTROL_TOKEN, GATEWAY_TOKEN

    log_to_stderr()
    config = load_gateway_config(config_file)
    tokens = load_gateway_token(GATEWAY_TOKEN), load_gateway_token(GATEWAY_CONTROL_TOKEN)
    asyncio.run(serve_gateway(config, *tokens, Clock()))


@gateway.command()
@json_option
@click.pass_context
def servers(context: click.Context, as_json: bool) -> None:
    """List the MCP servers of a running gateway, their health, and digests of their tools."""
    status = _ask(context)
    emit(status.model_dump(mode="json"), as_json=as_json, human=lambda out: _show(status, out))


@gateway.command()
@click.argument("server")
@click.argument("digest")
@json_option
@click.pass_context
def accept(context: click.Context, server: str, digest: str, as_json: bool) -> None:
    """Accept the tools that SERVER offers now, if their digest is DIGEST (see `servers`)."""
    status = _ask(context, (server, digest))
    emit(status.model_dump(mode="json"), as_json=as_json, human=lambda out: _show(status, out))


def _ask(context: click.Context, accepted: tuple[str, str] | None = None) -> GatewayStatus:
    from agency.agent.gateway.config import load_gateway_config, load_gateway_token
    from agency.errors import UsageError
    from agency.protocols import GATEWAY_CONTROL_TOKEN, GatewayClient, is_id

    if accepted is not None and not (is_id(accepted[0]) and _is_digest(accepted[1])):
        raise UsageError(
            "a server's name and 64 hexadecimal digits are needed",
            hint="`agency agent gateway --config FILE servers` lists both",
        )
    assert context.parent is not None
    config = load_gateway_config(context.parent.params["config_file"])
    token = load_gateway_token(GATEWAY_CONTROL_TOKEN).reveal()

    async def ask() -> GatewayStatus:
        client = GatewayClient(config.control_socket, token)
        try:
            if accepted is None:
                return await client.status()
            return await client.accept(*accepted)
        finally:
            await client.close()

    return asyncio.run(ask())


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _show(status: GatewayStatus, console: Console) -> None:
    from agency.terminal import plain

    console.print(plain(f"{status.agent}: {status.health} {status.reason}".strip()))
    for each in status.servers:
        console.print(plain(_line(each)))


def _line(server: GatewayServer) -> str:
    digest = server.list_sha256 or "-"
    return f"{server.name}: {server.health}, {server.tools} tools, {digest} {server.reason}".strip()
