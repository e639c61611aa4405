"""Every command as data: the one source for parsing, printing, help, documentation and the CLI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "!agency"
PREFIXES = (PREFIX, "/ruriko", "//ruriko")


class Effect(StrEnum):
    """Whether a command only looks, or changes something."""

    READ = "read"
    CHANGE = "change"


class Kind(StrEnum):
    """What a parameter takes; `values.read_value` says what that means."""

    AGENT_NAME = "agent name"
    TEXT = "text"
    COUNT = "count"
    TRACE_ID = "trace id"
    TOPIC = "topic"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a command.

    `positional` False means a flag, `--name VALUE`. `most` bounds what is given: characters of a
    TEXT, the number itself of a COUNT. A `default` stands where an optional one is left out.
    """

    name: str
    kind: Kind
    summary: str
    required: bool = True
    positional: bool = True
    default: str | int | None = None
    most: int = 200
    metavar: str = ""

    @property
    def usage(self) -> str:
        """How it stands in a usage line: `<agent>`, `[count]`, `[--project TEXT]`."""
        shown = self.metavar or self.name
        text = f"<{shown}>" if self.positional else f"--{self.name} {shown}"
        if self.required:
            return text
        return f"[{shown}]" if self.positional else f"[{text}]"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command. `verb` is None where the noun says it all; an alias is a whole first word."""

    noun: str
    verb: str | None
    summary: str
    effect: Effect
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`agents start`, `ping`."""
        return self.noun if self.verb is None else f"{self.noun} {self.verb}"

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return self.effect is Effect.CHANGE

    @property
    def target(self) -> str | None:
        """The parameter that names what it is about."""
        return next((p.name for p in self.parameters if p.kind is Kind.AGENT_NAME), None)

    @property
    def permission(self) -> str:
        """What somebody must hold to ask for it: `agents.start`."""
        return self.noun if self.verb is None else f"{self.noun}.{self.verb}"

    @property
    def approval(self) -> str | None:
        """The rule by which somebody else must approve it; there is none yet."""
        return None

    @property
    def positionals(self) -> tuple[Parameter, ...]:
        """The parameters that are words, in their order."""
        return tuple(each for each in self.parameters if each.positional)

    @property
    def flags(self) -> tuple[Parameter, ...]:
        """The parameters that are given as `--name VALUE`."""
        return tuple(each for each in self.parameters if not each.positional)

    @property
    def usage(self) -> str:
        """`!agency agents start <agent> [--project TEXT]`."""
        return " ".join([PREFIX, self.name, *(each.usage for each in self.parameters)])

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of this name, if there is one."""
        return next((each for each in self.parameters if each.name == name), None)


_AGENT = Parameter("agent", Kind.AGENT_NAME, "an agent's name, as `agents list` shows it")
_ANY_AGENT = Parameter("agent", Kind.AGENT_NAME, "an agent's name; all if left out", required=False)
_PROJECT = Parameter(
    "project",
    Kind.TEXT,
    "what the agent is to work on",
    required=False,
    positional=False,
    metavar="TEXT",
)

_LINES = Parameter(
    "lines",
    Kind.COUNT,
    "how many lines, 1 to 100; 20 if left out",
    required=False,
    positional=False,
    default=20,
    most=100,
    metavar="N",
)

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        "help",
        None,
        "Say which commands there are, or how one is used.",
        Effect.READ,
        (Parameter("topic", Kind.TOPIC, "a command, or a group of them", required=False),),
    ),
    CommandSpec("ping", None, "Say whether commands are heard.", Effect.READ),
    CommandSpec("version", None, "Say which version runs.", Effect.READ),
    CommandSpec(
        "agents", "list", "List every agent and its state.", Effect.READ, (), ("!list-agents",)
    ),
    CommandSpec("agents", "show", "Show what is known of an agent.", Effect.READ, (_AGENT,)),
    CommandSpec(
        "agents",
        "start",
        "Start an agent.",
        Effect.CHANGE,
        (_AGENT, _PROJECT),
        ("!start-agent",),
    ),
    CommandSpec("agents", "stop", "Stop an agent.", Effect.CHANGE, (_AGENT,), ("!stop-agent",)),
    CommandSpec(
        "agents",
        "restart",
        "Stop an agent and start it again.",
        Effect.CHANGE,
        (_AGENT, _PROJECT),
        ("!restart-agent",),
    ),
    CommandSpec(
        "agents",
        "status",
        "Ask an agent how it is.",
        Effect.READ,
        (_ANY_AGENT,),
        ("!agent-status",),
    ),
    CommandSpec("agents", "logs", "Show the end of an agent's log.", Effect.READ, (_AGENT, _LINES)),
    CommandSpec(
        "audit",
        "tail",
        "Show the newest entries of the audit log.",
        Effect.READ,
        (
            Parameter(
                "count",
                Kind.COUNT,
                "how many entries, 1 to 100; 10 if left out",
                required=False,
                default=10,
                most=100,
            ),
        ),
    ),
    CommandSpec(
        "trace",
        None,
        "Show everything that was recorded under one trace id.",
        Effect.READ,
        (
            Parameter(
                "trace",
                Kind.TRACE_ID,
                "a trace id, as replies and the audit log show it",
                metavar="trace-id",
            ),
        ),
    ),
)

BY_NAME: Mapping[str, CommandSpec] = {spec.name: spec for spec in COMMANDS}
BY_ALIAS: Mapping[str, CommandSpec] = {alias: spec for spec in COMMANDS for alias in spec.aliases}
NOUNS: tuple[str, ...] = tuple(dict.fromkeys(spec.noun for spec in COMMANDS))
FIRST_WORDS: tuple[str, ...] = (*PREFIXES, *BY_ALIAS)

# What people say where a command's name should stand: its verb alone, or a short form unmarked.
INSTEAD_OF_NAME: Mapping[str, str] = {
    **{spec.verb: spec.name for spec in COMMANDS if spec.verb is not None},
    **{alias.removeprefix("!"): spec.name for alias, spec in BY_ALIAS.items()},
}

# What may follow `help`: a noun, a command's name, or a short form with or without its mark.
TOPICS: Mapping[str, tuple[CommandSpec, ...]] = {
    **{noun: tuple(spec for spec in COMMANDS if spec.noun == noun) for noun in NOUNS},
    **{name: (spec,) for name, spec in BY_NAME.items()},
    **{alias: (spec,) for alias, spec in BY_ALIAS.items()},
    **{alias.removeprefix("!"): (spec,) for alias, spec in BY_ALIAS.items()},
}


def verbs_of(noun: str) -> tuple[str, ...]:
    """The verbs of a noun, in order; empty where it has none."""
    return tuple(spec.verb for spec in COMMANDS if spec.noun == noun and spec.verb is not None)
