"""A parsed command: a value that is always valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agency.control.grammar.kinds import Value, ValueProblemError
from agency.control.grammar.spec import CommandSpec


@dataclass(frozen=True, slots=True)
class Command:
    """A command with checked arguments; defaults are filled in.

    Raises:
        ValueProblemError: an argument is unknown, missing or invalid.
    """

    spec: CommandSpec
    arguments: Mapping[str, Value]

    def __post_init__(self) -> None:
        for name in self.arguments:
            if self.spec.parameter(name) is None:
                raise ValueProblemError(f"{self.spec.name} has no argument {name}")
        checked: dict[str, Value] = {}
        for parameter in self.spec.parameters:
            value = self.arguments.get(parameter.name, parameter.default)
            if value is not None:
                checked[parameter.name] = parameter.read(str(value))
            elif parameter.required:
                raise ValueProblemError(f"{self.spec.name} needs {parameter.usage}")
        object.__setattr__(self, "arguments", MappingProxyType(checked))

    def __hash__(self) -> int:
        return hash((self.spec, tuple(self.arguments.items())))

    @property
    def name(self) -> str:
        """The command's name: `agents start`, `ping`."""
        return self.spec.name

    @property
    def changes(self) -> bool:
        """True if the command changes something."""
        return self.spec.changes

    @property
    def target(self) -> str | None:
        """The name that the command acts on; None if it is omitted or the command has no target."""
        return None if self.spec.target is None else self.text(self.spec.target)

    def argument(self, name: str) -> Value | None:
        """Return an argument's value; None if it is omitted or the command has no such argument."""
        return self.arguments.get(name)

    def text(self, name: str) -> str | None:
        """Return an argument's value as text."""
        value = self.argument(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """Return an argument's value if it is a number."""
        value = self.argument(name)
        return value if isinstance(value, int) else None
