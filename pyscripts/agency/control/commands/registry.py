"""Handlers of all commands, by name."""

from __future__ import annotations

from collections.abc import Mapping

from agency.control.commands import GRAMMAR, Context, Services, handler
from agency.control.execution.result import Handler, Invocation, Result

__all__ = ["build_handlers", "handler"]


def build_handlers(services: Services) -> Mapping[str, Handler]:
    """Make the handler of every command, by the command's name."""

    async def run(invocation: Invocation) -> Result:
        command = invocation.command
        return await handler(command)(Context(services, invocation), **command.arguments)

    return dict.fromkeys(GRAMMAR.by_name, run)
