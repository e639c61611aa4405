"""help, ping, version."""

from __future__ import annotations

import platform

from agency import __version__
from agency.clock import Clock
from agency.control.execution.result import Invocation, Result
from agency.control.grammar.help import help_text
from agency.control.store import schema


async def show_help(invocation: Invocation) -> Result:
    """How to command."""
    return Result("How to command this agency:", help_text(invocation.command.text("topic")))


async def ping(clock: Clock, invocation: Invocation) -> Result:
    """Whether commands are heard, and how long this one was on its way."""
    age_ms = clock.now_ms() - invocation.origin_ts
    return Result(f"pong, {age_ms} ms after you sent it", detail={"age_ms": age_ms})


async def version(_invocation: Invocation) -> Result:
    """What runs."""
    return Result(
        f"agency {__version__}, Python {platform.python_version()}, schema {schema.REVISION}"
    )
