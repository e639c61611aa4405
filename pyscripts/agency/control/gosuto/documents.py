"""Documents that are handed in: kept by digest before the command that names them is entered.

The command names the digest, so an approval of it covers every byte. What nobody named is pruned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from agency.clock import Clock
from agency.control.events import IncomingEvent
from agency.control.execution.result import RefusalError
from agency.control.gosuto.planning import HeldTokenError, check_no_token
from agency.control.store import gosuto as store
from agency.gosuto import Document, canonical, read_document, sha256
from agency.store import Database

_MOST = 200  # documents that wait for their command


def read_handed_in(content: bytes) -> Document:
    """Read a document.

    Raises:
        HeldTokenError: it holds a token.
        GosutoError: it is no valid document.
    """
    # Of the bytes as they came: a comment, or a document that is not valid, may hold one, too.
    check_no_token(content.decode(errors="replace"))
    document = read_document("document", content)
    check_no_token(canonical(document).decode())
    return document


async def keep_document(database: Database, clock: Clock, document: Document) -> None:
    """Keep a document by its digest; a second time changes nothing.

    Raises:
        RefusalError: too many wait for their command.
    """
    digest, text, now = sha256(document), canonical(document).decode(), clock.now_ms()

    def keep(connection: Connection) -> None:
        is_new = store.document(connection, digest) is None
        if is_new and store.count_documents(connection) >= _MOST:
            raise RefusalError("too many documents were handed in within a week")
        store.keep_document(connection, digest, text, now)

    await database.write(keep)


@dataclass(frozen=True, slots=True)
class FileDocuments:
    """Taker of documents that people send to a room as files.

    `read` gets the bytes of the file that a sender sent as an event of a room; `take_away` deletes
    an event, and says what became of that.
    """

    database: Database
    clock: Clock
    read: Callable[[str, str, str], Awaitable[bytes]]
    take_away: Callable[[IncomingEvent], Awaitable[str]]

    async def __call__(self, event: IncomingEvent) -> str:
        """Keep the document that a message goes with; return how its command names it.

        Raises:
            RefusalError: it is not taken; one that holds a token is deleted from the room.
            GosutoError: it is no valid document.
        """
        content = await self.read(event.room_id, event.answers, event.sender)
        try:
            document = read_handed_in(content)
        except HeldTokenError as error:
            done = await self.take_away(replace(event, event_id=event.answers))
            raise RefusalError(error.message, hint=f"{error.hint} {done}") from None
        await keep_document(self.database, self.clock, document)
        return f"--document=sha256:{sha256(document)}"
