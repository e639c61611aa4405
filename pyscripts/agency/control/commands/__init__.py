"""Commands of the agency, one file a noun: arguments, permission, handler and help."""

from __future__ import annotations

from collections.abc import Mapping

from agency.control.commands import (
    accounts,
    approvals,
    backups,
    general,
    gosuto,
    policy,
    records,
    safety,
    secrets,
    settings,
    status,
    tokens,
    warnings,
)
from agency.control.commands.context import Context, Services
from agency.control.commands.noun import Entry, Handler, Noun
from agency.control.grammar import parse as parsing
from agency.control.grammar.command import Command
from agency.control.grammar.grammar import Grammar
from agency.control.wish import WishFor

__all__ = [
    "GRAMMAR",
    "NOUNS",
    "Context",
    "Handler",
    "Services",
    "handler",
    "looks_like_command",
    "parse",
    "wish_for",
]

# In the order of the help and the reference.
NOUNS: tuple[Noun, ...] = (
    *(general.HELP, general.PING, general.VERSION),
    accounts.AGENTS,
    *(records.AUDIT, records.TRACE),
    *(approvals.APPROVALS, policy.POLICY, safety.SAFE_MODE),
    *(status.STATUS, warnings.WARNINGS),
    gosuto.GOSUTO,
    secrets.SECRETS,
    *(tokens.TOKENS, settings.CONFIG, backups.BACKUPS),
)

GRAMMAR = Grammar(tuple(entry.spec for noun in NOUNS for entry in noun.entries))
_ENTRIES: Mapping[str, Entry] = {entry.spec.name: entry for noun in NOUNS for entry in noun.entries}


def parse(text: str, *, max_bytes: int = parsing.MAX_BYTES) -> Command:
    """Parse a command of this agency; see `grammar.parse.parse`."""
    return parsing.parse(GRAMMAR, text, max_bytes=max_bytes)


def looks_like_command(text: str) -> bool:
    """Return whether a message is meant as a command; see `grammar.parse`."""
    return parsing.looks_like_command(GRAMMAR, text)


def wish_for(command: Command) -> WishFor | None:
    """Find the function that says which state a command asks for; None if it asks for none."""
    return _ENTRIES[command.name].wish


def handler(command: Command) -> Handler:
    """Find the function that runs a command: `await handler(command)(ctx, **command.arguments)`."""
    return _ENTRIES[command.name].handler
