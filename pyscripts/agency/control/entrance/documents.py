"""Documents that are handed in with a command, past the room."""

from __future__ import annotations

from agency.control.entrance.enter import Answer, Asked, Entrance, enter, submit
from agency.control.execution.result import RefusalError
from agency.control.gosuto.documents import keep_document, read_handed_in
from agency.control.grammar.parse import Command, CommandError, parse
from agency.control.operations import Operation, Tell
from agency.control.operations.admitting.admission import target_of
from agency.control.policy import Deny
from agency.errors import AgencyError
from agency.gosuto import sha256

_ARGUMENT = "document"


async def enter_with_document(entrance: Entrance, asked: Asked, tell: Tell) -> Answer:
    """Keep the document of a command if there is one, and enter the command.

    One that cannot be kept is told to who asks; the command then finds no document, and is refused.
    """
    if asked.document:
        try:
            await _keep(entrance, asked)
        except AgencyError as error:
            tell(f"The document is not taken: {error.message}")
    return await enter(entrance, asked, tell)


async def submit_with_document(entrance: Entrance, asked: Asked) -> Operation | Answer:
    """Keep the document of a command if there is one, and store the command.

    Raises:
        AgencyError: the document is not taken.
    """
    if asked.document:
        await _keep(entrance, asked)
    return await submit(entrance, asked)


async def _keep(entrance: Entrance, asked: Asked) -> None:
    """Keep a document.

    Raises:
        RefusalError: the command does not name it, it holds a token, or too many documents wait.
        GosutoError: it is no valid document.
    """
    operations = entrance.operations
    try:
        command = parse(operations.grammar, asked.text, max_bytes=operations.max_command_bytes)
    except CommandError:
        return  # entering it says what is wrong
    policy = operations.rules.policy
    if isinstance(policy.decide(asked.actor, command.spec, target_of(command)), Deny):
        return  # likewise
    document = read_handed_in(asked.document.encode())
    _check_named(command, sha256(document))
    await keep_document(operations.database, entrance.clock, document)


def _check_named(command: Command, digest: str) -> None:
    if command.text(_ARGUMENT) != f"sha256:{digest}":
        raise RefusalError(f"the command does not name it by its digest, sha256:{digest}")
