"""A command that was understood: a value that cannot be invalid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agency.control.grammar.kinds import Value, ValueProblemError
from agency.control.grammar.spec import CommandSpec


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be done, with checked arguments; defaults are filled in.

    Raises:
        ValueProblemError: an argument is unknown, missing, or does not fit.
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
        """`agents start`, `ping`."""
        return self.spec.name

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.spec.changes

    @property
    def target(self) -> str | None:
        """What it acts on; None where that was left out, or the command acts on nothing named."""
        return None if self.spec.target is None else self.text(self.spec.target)

    def argument(self, name: str) -> Value | None:
        """An argument's value; None where it was left out, or this command has none of the name."""
        return self.arguments.get(name)

    def text(self, name: str) -> str | None:
        """An argument's value as text."""
        value = self.argument(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """An argument's value if it is a number."""
        value = self.argument(name)
        return value if isinstance(value, int) else None
