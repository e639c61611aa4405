"""help, ping, version."""

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
    argument("topic", Topic(), "a command, or a group of them", required=False),
    summary="Say which commands there are, or how one is used.",
    permission="help",
)
async def show_help(ctx: Context, topic: str | None = None) -> Result:
    """Say how to command."""
    return Result("How to command this agency:", help_text(ctx.services.grammar, topic))


@PING.command(None, summary="Say whether commands are heard.", permission="ping")
async def ping(ctx: Context) -> Result:
    """Say how long this command was on its way."""
    age_ms = ctx.services.clock.now_ms() - ctx.invocation.origin_ts
    return Result(f"pong, {age_ms} ms after you sent it", detail={"age_ms": age_ms})


@VERSION.command(None, summary="Say which version runs.", permission="version")
async def version(ctx: Context) -> Result:  # noqa: ARG001 - every handler takes it
    """Say what runs."""
    from agency.control.store import schema

    return Result(
        f"agency {__version__}, Python {platform.python_version()}, schema {schema.REVISION}"
    )
