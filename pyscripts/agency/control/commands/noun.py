"""Nouns: groups of commands, each command declared with its handler.

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

A handler takes the context, and each declared argument by its name, in the declared order. `Noun`
checks this when the module is loaded.

`agency room` loads these modules for their declarations only, so a handler imports heavy modules,
such as the store, when it runs.
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
    from agency.control.wish import WishFor

Handler = Callable[..., "Awaitable[Result]"]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, its handler, and the wish that it makes if it changes a target."""

    spec: CommandSpec
    handler: Handler
    wish: WishFor | None = None


@dataclass(slots=True)
class Noun:
    """The commands of one noun, in the order of declaration."""

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
        wish: WishFor | None = None,
        role: str | None = None,
        bare: tuple[str, ...] = (),
        target_kind: str = "",
        alone: bool = False,
        acts: bool = False,
    ) -> Callable[[H], H]:
        """Declare a command with the decorated function as its handler; see CommandSpec.

        `wish` says which state a change asks for; it is on record before the handler acts.

        Raises:
            InternalError: the declaration is inconsistent or does not match the function.
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
            role=role,
            bare=bare,
            target_kind=target_kind,
            alone=alone,
            acts=acts,
        )

        def declare(handler: H) -> H:
            _check(spec, handler)
            if (wish is not None) is not (changes and target is not None):
                raise InternalError(
                    f"command {spec.name}: a change of a target, and nothing else, needs a wish",
                    hint="pass wish=, the state that the command asks for",
                )
            self.entries.append(Entry(spec, handler, wish))
            return handler

        return declare


def _check(spec: CommandSpec, handler: Handler) -> None:
    """Refuse a handler whose signature differs from the declared arguments.

    Annotations are compared as text, because their types are imported for type checkers only.
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
