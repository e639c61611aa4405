"""Commands `help`, `ping` and `version`."""

from __future__ import annotations

import platform

from agency import __version__
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.grammar.help import help_text
from agency.control.grammar.kinds import Topic
from agency.control.grammar.spec import argument

HELP, PING, VERSION = Noun("help"), Noun("ping"), Noun("version")


@HELP.command(
    None,
    argument("topic", Topic(), "a command, or a group of commands", required=False),
    summary="List the commands, or explain one.",
    permission="help",
)
async def show_help(ctx: Context, topic: str | None = None) -> Result:
    """Show the help for all commands or one topic."""
    return Result("How to command this agency:", help_text(ctx.services.grammar, topic))


@PING.command(None, summary="Check that the control plane answers.", permission="ping")
async def ping(ctx: Context) -> Result:
    """Show the time from sending the command to running it."""
    age_ms = ctx.services.clock.now_ms() - ctx.invocation.origin_ts
    return Result(f"pong, {age_ms} ms after you sent it", detail={"age_ms": age_ms})


@VERSION.command(None, summary="Show the running version.", permission="version")
async def version(ctx: Context) -> Result:  # noqa: ARG001 - every handler takes it
    """Show the versions that run."""
    from agency.control.store import schema

    return Result(
        f"agency {__version__}, Python {platform.python_version()}, schema {schema.REVISION}"
    )
