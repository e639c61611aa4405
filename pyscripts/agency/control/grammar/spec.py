"""Specifications of commands, for the parser, the printer, help and the CLI."""

from __future__ import annotations

from dataclasses import dataclass

from agency.control.grammar.kinds import Kind, Value
from agency.errors import InternalError

PREFIX = "!agency"
PREFIXES = (PREFIX, "/ruriko", "//ruriko")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a command.

    `positional` False means a flag, `--name VALUE`. An omitted optional argument has the value
    `default`.
    """

    name: str
    kind: Kind
    summary: str
    required: bool = True
    positional: bool = True
    default: Value | None = None
    metavar: str = ""

    @property
    def usage(self) -> str:
        """The parameter in a usage line: `<agent>`, `[count]`, `[--project TEXT]`."""
        shown = self.metavar or self.name
        text = f"<{shown}>" if self.positional else f"--{self.name} {shown}"
        if self.required:
            return text
        return f"[{shown}]" if self.positional else f"[{text}]"

    def read(self, text: str) -> Value:
        """Read the parameter's value from a word.

        Raises:
            ValueProblemError: the value is invalid.
        """
        return self.kind.read(text, self)


def argument(
    name: str,
    kind: Kind,
    summary: str,
    *,
    required: bool = True,
    default: Value | None = None,
    metavar: str = "",
) -> Parameter:
    """Declare a positional argument; a default makes it optional."""
    return Parameter(name, kind, summary, required and default is None, True, default, metavar)


def flag(
    name: str,
    kind: Kind,
    summary: str,
    *,
    required: bool = False,
    default: Value | None = None,
    metavar: str = "",
) -> Parameter:
    """Declare an argument that is given as `--name VALUE`."""
    return Parameter(name, kind, summary, required and default is None, False, default, metavar)


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command. A noun that needs no verb has `verb` None; an alias is a whole first word.

    A person needs `permission` to give the command; `approval` names the rule whose grants it
    needs before it runs; `changes` is true if it changes something; `target` names the argument
    with its target, and `target_kind` says what that is, if no agent. `role` is the role that it
    asks for, if not an operator's for a change and a viewer's for a look. `acts` is true if it
    writes without being a change: no token of a viewer reaches it. `bare` are first words that need
    no mark where an operation's id follows. Changes that choose among what is free are `alone`: of
    all of them one runs at a time, whatever their targets.

    Raises:
        InternalError: the declaration is inconsistent.
    """

    noun: str
    verb: str | None
    summary: str
    permission: str
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    changes: bool = False
    approval: str | None = None
    target: str | None = None
    role: str | None = None
    bare: tuple[str, ...] = ()
    target_kind: str = ""
    alone: bool = False
    acts: bool = False

    def __post_init__(self) -> None:
        names = [each.name for each in self.parameters]
        if len(set(names)) < len(names):
            self._fail("two arguments have one name")
        if self.positionals + self.flags != self.parameters:
            self._fail("a flag stands before an argument")
        required = [each.required for each in self.positionals]
        if required != sorted(required, reverse=True):
            self._fail("a required argument stands after an optional one")
        if self.target is not None and self.target not in names:
            self._fail(f"its target {self.target} is none of its arguments")

    def _fail(self, message: str) -> None:
        raise InternalError(f"command {self.name}: {message}")

    @property
    def name(self) -> str:
        """The command's name: `agents start`, `ping`."""
        return self.noun if self.verb is None else f"{self.noun} {self.verb}"

    @property
    def takes_document(self) -> bool:
        """True if a document can be handed in with the command, which then names its digest."""
        return self.parameter("document") is not None

    @property
    def positionals(self) -> tuple[Parameter, ...]:
        """The positional parameters, in their order."""
        return tuple(each for each in self.parameters if each.positional)

    @property
    def flags(self) -> tuple[Parameter, ...]:
        """The parameters written as `--name VALUE`."""
        return tuple(each for each in self.parameters if not each.positional)

    @property
    def usage(self) -> str:
        """The usage line: `!agency agents start <agent> [--project TEXT]`."""
        return " ".join([PREFIX, self.name, *(each.usage for each in self.parameters)])

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of this name, or None."""
        return next((each for each in self.parameters if each.name == name), None)
