"""Plans of changes: what a command would make of an agent's newest version. Reads, never writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from agency.canonical import canonical_json, sha256_hex
from agency.control.execution.result import RefusalError
from agency.control.grammar.command import Command
from agency.control.grammar.kinds import settings_of
from agency.control.leaks import EXPOSED, token_in
from agency.control.operation import Operation
from agency.control.operations.approving.plan import Plan
from agency.control.store import gosuto as store
from agency.control.store.gosuto import Version
from agency.errors import AgencyError
from agency.gosuto import (
    Change,
    Document,
    GosutoError,
    canonical,
    compare,
    edit,
    load_template,
    read_canonical,
    sha256,
    unenforced,
)

SET, ROLLBACK = "gosuto set", "gosuto rollback"
NO_VERSION = "{} has no Gosuto yet"
_BEGIN = "begin with a template: !agency gosuto set {} --template NAME VARIABLE=VALUE"


@dataclass(frozen=True, slots=True)
class Request:
    """Request to change an agent's document, each part as the command has it.

    `on` is the version that they planned on; `back_to` the one to copy; `is_asked` that it is only
    looked at.
    """

    agent: str
    settings: str | None = None
    template: str | None = None
    document: str | None = None
    on: int | None = None
    back_to: int | None = None
    is_asked: bool = False

    @classmethod
    def of(cls, command: Command) -> Request:
        """Read a `set` or `rollback`."""
        return cls(
            agent=command.text("agent") or "",
            settings=command.text("settings"),
            template=command.text("template"),
            document=command.text("document"),
            on=command.number("on"),
            back_to=command.number("version"),
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """Plan of a command: the document, how, and on which version."""

    agent: str
    before: Version | None
    document: Document
    made_by: str
    changes: tuple[Change, ...]

    @property
    def number(self) -> int:
        """The number of the version that it would be."""
        return 1 if self.before is None else self.before.number + 1

    @property
    def basis(self) -> str:
        """The digest of the version that it is planned on, and of what it makes."""
        before = None if self.before is None else [self.before.number, self.before.sha256]
        facts = {"agent": self.agent, "on": before, "makes": sha256(self.document)}
        return sha256_hex(canonical_json({"gosuto": facts}))

    @property
    def text(self) -> str:
        """The sentence before the difference."""
        on = "has none now" if self.before is None else f"is at version {self.before.number} now"
        return (
            f"The Gosuto of {self.agent} {on}; after it, it is version {self.number} "
            f"(sha256:{sha256(self.document)}), by {self.made_by}:"
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The difference, one field a line."""
        return tuple(map(str, self.changes))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Fields that change, are used, and are enforced by nothing."""
        changed = [f"{change.field}." for change in self.changes]
        return tuple(
            each
            for each in unenforced(self.document)
            if any(_is_within(f"{each.partition(' ')[0]}.", field) for field in changed)
        )


def _is_within(one: str, other: str) -> bool:
    """Return whether one of two fields is a part of the other."""
    return one.startswith(other) or other.startswith(one)


def check_owner(document: Document, agent: str) -> None:
    """Refuse a document that is another agent's.

    Raises:
        RefusalError: `metadata.name` is not this agent.
    """
    if document.metadata.name != agent:
        raise RefusalError(
            f"the document is for {document.metadata.name}, not for {agent}",
            hint=f"write metadata.name: {agent}",
        )


class HeldTokenError(RefusalError):
    """A document that holds a token of a known format."""


def check_no_token(text: str) -> None:
    """Refuse a document that holds a secret: it is shown in rooms, and kept for ever.

    Raises:
        HeldTokenError: it holds a token of a known format.
    """
    token = token_in(text)
    if token is not None:
        raise HeldTokenError(
            f"the document holds {token}, and is shown in rooms; nothing of it is kept",
            hint=f"{EXPOSED} In a document secrets are named, never held.",
        )


def plan(connection: Connection, request: Request, agents: Collection[str]) -> Planned:
    """Plan what is asked for.

    Raises:
        RefusalError: there is no such agent, version, template or document, or the version moved.
    """
    agent = request.agent
    if agent not in agents:
        raise RefusalError(f"there is no agent {agent}", hint="`agents list` shows them")
    before = store.newest(connection, agent)
    _check_on(agent, before, request.on)
    try:
        document, made_by = _made(connection, request, before)
    except RefusalError:
        raise
    except GosutoError as error:
        problems = "\n".join(f"{each.field}: {each.message}" for each in error.problems[:10])
        raise RefusalError(f"this would be no valid Gosuto:\n{problems}") from None
    except AgencyError as error:
        raise RefusalError(error.message, hint=error.hint) from None
    check_owner(document, agent)
    check_no_token(canonical(document).decode())
    old = None if before is None else read(before)
    changes = compare(old, document)
    if not changes and not request.is_asked:
        raise RefusalError(f"nothing would change: {agent} has this Gosuto already")
    return Planned(agent, before, document, made_by, changes)


def _check_on(agent: str, before: Version | None, on: int | None) -> None:
    number = 0 if before is None else before.number
    if on is not None and on != number:
        is_at = NO_VERSION.format(agent) if before is None else f"{agent} is at version {number}"
        raise RefusalError(
            f"this was planned on version {on}, and {is_at}",
            hint="look at the difference, and ask again on the newest version",
        )


def _made(connection: Connection, request: Request, before: Version | None) -> tuple[Document, str]:
    """Make the document that is asked for; return it, and how it was made."""
    agent, digest, template = request.agent, request.document, request.template
    if request.back_to is not None:
        made_by = f"a rollback to version {request.back_to}"
        return read(found(connection, agent, request.back_to)), made_by
    words = settings_of(request.settings or "")
    if digest is not None:
        if template is not None or words:
            raise RefusalError("a document is complete: give no template and no fields with it")
        return _handed_in(connection, digest), f"the document {digest}"
    if template is not None:
        return load_template(template).fill(agent, values_of(words)), f"the template {template}"
    if before is None:
        raise RefusalError(NO_VERSION.format(agent), hint=_BEGIN.format(agent))
    if not words and not request.is_asked:
        raise RefusalError(
            "there is nothing to set",
            hint="give FIELD=VALUE or --template, or send the command as a reply to a file",
        )
    return edit(read(before), words), "an edit" if words else "nobody"


def _handed_in(connection: Connection, digest: str) -> Document:
    bare = digest.removeprefix("sha256:")
    text = store.document(connection, bare)
    if text is None:
        raise RefusalError(
            f"the document {digest} is not here",
            hint="hand it in: send the file to the room and the command as a reply to it, or "
            "`agency do gosuto set AGENT --attach FILE`",
        )
    return read_canonical(text.encode(), bare)


def found(connection: Connection, agent: str, number: int) -> Version:
    """Return a version of an agent.

    Raises:
        RefusalError: there is none of this number.
    """
    version = store.version(connection, agent, number)
    if version is None:
        raise RefusalError(
            f"{agent} has no version {number}", hint=f"`gosuto versions {agent}` lists them"
        )
    return version


def read(version: Version) -> Document:
    """Read the document of a version; its bytes must have its digest.

    Raises:
        BadInputError: they do not, or this program reads another format.
    """
    return read_canonical(version.document.encode(), version.sha256)


def values_of(words: Collection[str]) -> dict[str, str]:
    """Read the variables of a template.

    Raises:
        RefusalError: one is given twice, or is an edit of a list.
    """
    values: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in values:
            raise RefusalError(f"{name} is given twice")
        values[name] = value
    return values


def arguments_of(words: Collection[str]) -> dict[str, object]:
    """Read the arguments of a tool's call: one JSON object, or NAME=VALUE, where VALUE may be JSON.

    Raises:
        UsageError: they are none.
    """
    from agency.gosuto import read_arguments

    if len(words) == 1 and next(iter(words)).startswith("{"):
        return read_arguments(next(iter(words)))
    return {name: _value(text) for name, text in values_of(words).items()}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@dataclass(frozen=True, slots=True)
class GosutoPlans:
    """Planner of operations, for prompts and for the check when an operation begins."""

    agents: Collection[str]
    parse: Callable[[str], Command]

    def __call__(self, connection: Connection, operation: Operation) -> Plan | None:
        """Plan an operation that changes a Gosuto; None for every other. Raises as `plan` does."""
        if operation.action not in (SET, ROLLBACK):
            return None
        planned = plan(connection, Request.of(self.parse(operation.said)), self.agents)
        return Plan(planned.basis, planned.text, (*planned.lines, *planned.warnings))


def new_version(planned: Planned, author: str, trace: str) -> Version:
    """Make the version that a plan asks for; its time is set when it is stored."""
    text = canonical(planned.document).decode()
    digest = sha256(planned.document)
    return Version(
        planned.agent, planned.number, digest, author, 0, trace, planned.made_by[:255], text
    )
