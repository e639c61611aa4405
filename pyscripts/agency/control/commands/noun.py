"""Nouns: the commands on one thing, each declared together with the function that runs it.

    AGENTS = Noun("agents")

    @AGENTS.command(
        "stop",
        argument("agent", AgentName(), "an agent's name"),
        summary="Stop an agent.",
        permission="agents.stop",
        changes=True,
        target="agent",
    )
    async def stop(ctx: Context, agent: str) -> Result: ...

A handler takes the context, and each declared argument by its name, in the declared order. That
is checked here, when its module is loaded.

`agency room` loads these modules for what they declare: a handler imports what is heavy, such as
the store, when it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from agency.control.grammar.spec import CommandSpec, Parameter
from agency.errors import InternalError

if TYPE_CHECKING:
    from agency.control.execution.result import Result

Handler = Callable[..., "Awaitable[Result]"]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command and its handler."""

    spec: CommandSpec
    handler: Handler


@dataclass(slots=True)
class Noun:
    """The commands on one thing, in the order in which they are declared."""

    name: str
    entries: list[Entry] = field(default_factory=list)

    def command(
        self,
        verb: str | None,
        *arguments: Parameter,
        summary: str,
        permission: str,
        changes: bool = False,
        approval: str | None = None,
        target: str | None = None,
        aliases: tuple[str, ...] = (),
    ) -> Callable[[H], H]:
        """Declare a command, and the decorated function as its handler; see CommandSpec.

        Raises:
            InternalError: the declaration contradicts itself, or the function's signature.
        """
        spec = CommandSpec(
            noun=self.name,
            verb=verb,
            summary=summary,
            permission=permission,
            parameters=arguments,
            aliases=aliases,
            changes=changes,
            approval=approval,
            target=target,
        )

        def declare(handler: H) -> H:
            _check(spec, handler)
            self.entries.append(Entry(spec, handler))
            return handler

        return declare


def _check(spec: CommandSpec, handler: Handler) -> None:
    """Refuse a handler whose signature is not that of the declared arguments.

    Annotations are compared as they are written: what they name is imported for checkers alone.
    """
    found = str(inspect.signature(handler))
    wanted = f"({', '.join(['ctx: Context', *map(_written, spec.parameters)])}) -> Result"
    if not inspect.iscoroutinefunction(handler) or found.replace("'", "") != wanted:
        raise InternalError(
            f"command {spec.name}: its handler is not `async def {handler.__name__}{wanted}`",
            where=f"{handler.__module__}.{handler.__qualname__}{found}",
            hint="declare the arguments that the handler takes, by the same names",
        )


def _written(parameter: Parameter) -> str:
    kind = f"{parameter.name}: {parameter.kind.type.__name__}"
    always = parameter.required or parameter.default is not None
    return kind if always else f"{kind} | None = None"
