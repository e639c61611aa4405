"""A grammar: commands, and the tables in which parser and help look them up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from agency.control.grammar.kinds import Words
from agency.control.grammar.spec import PREFIXES, CommandSpec
from agency.errors import InternalError


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """The grammar of a list of commands, in their order.

    `instead_of_name` maps words that people type in place of a command's name (the verb alone, or
    a short form without its mark) to that name. `topics` maps the words after `help` to commands.

    Raises:
        InternalError: two commands have the same name or short form.
    """

    commands: tuple[CommandSpec, ...]
    by_name: Mapping[str, CommandSpec] = field(init=False)
    by_alias: Mapping[str, CommandSpec] = field(init=False)
    by_bare: Mapping[str, CommandSpec] = field(init=False)
    nouns: tuple[str, ...] = field(init=False)
    first_words: tuple[str, ...] = field(init=False)
    instead_of_name: Mapping[str, str] = field(init=False)
    topics: Mapping[str, tuple[CommandSpec, ...]] = field(init=False)
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        words = _words(self.commands)
        commands = tuple(_within(words, spec) for spec in self.commands)
        tables: Mapping[str, object] = {
            "commands": commands,
            "by_name": _unique((spec.name, spec) for spec in commands),
            "by_alias": _unique((alias, spec) for spec in commands for alias in spec.aliases),
            "by_bare": _unique((bare, spec) for spec in commands for bare in spec.bare),
            "nouns": words.nouns,
            "first_words": (*PREFIXES, *(alias for spec in commands for alias in spec.aliases)),
            "instead_of_name": words.meanings,
            "topics": MappingProxyType(_topics(commands)),
            "words": words,
        }
        for name, value in tables.items():
            object.__setattr__(self, name, value)

    def verbs_of(self, noun: str) -> tuple[str, ...]:
        """List the verbs of a noun, in order; empty if it has none."""
        mine = (spec for spec in self.commands if spec.noun == noun)
        return tuple(spec.verb for spec in mine if spec.verb is not None)


def _unique(pairs: Iterable[tuple[str, CommandSpec]]) -> Mapping[str, CommandSpec]:
    found: dict[str, CommandSpec] = {}
    for name, spec in pairs:
        if name in found:
            raise InternalError(f"two commands are called {name}")
        found[name] = spec
    return MappingProxyType(found)


def _topics(commands: tuple[CommandSpec, ...]) -> dict[str, tuple[CommandSpec, ...]]:
    of_alias = {alias: (spec,) for spec in commands for alias in spec.aliases}
    return {
        **{each.noun: tuple(s for s in commands if s.noun == each.noun) for each in commands},
        **{spec.name: (spec,) for spec in commands},
        **of_alias,
        **{alias.removeprefix("!"): specs for alias, specs in of_alias.items()},
    }


def _words(commands: tuple[CommandSpec, ...]) -> Words:
    meanings = {
        # Of several nouns with that verb, the first: it is the one that people meet first.
        **{spec.verb: spec.name for spec in reversed(commands) if spec.verb is not None},
        **{alias.removeprefix("!"): spec.name for spec in commands for alias in spec.aliases},
    }
    return Words(
        tuple(dict.fromkeys(spec.noun for spec in commands)),
        tuple(_topics(commands)),
        MappingProxyType(meanings),
    )


def _within(words: Words, spec: CommandSpec) -> CommandSpec:
    parameters = tuple(replace(each, kind=each.kind.within(words)) for each in spec.parameters)
    return replace(spec, parameters=parameters)
