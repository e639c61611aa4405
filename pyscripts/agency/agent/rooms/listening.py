"""Listening: syncs, judges every event by the policy of the moment, and fills the inbox.

While the policy cannot be read nothing is synced: what is said then is judged later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from agency.agent.policy import check_document
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.events.batches import Batch
from agency.agent.rooms.events.contents import message, transaction
from agency.agent.rooms.events.reading import Event, redacted_by
from agency.agent.rooms.events.waking import Facts, Kind, Verdict, judge
from agency.agent.rooms.homeserver import Homeserver, refuse_token
from agency.agent.rooms.inbox import Inbox
from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError
from agency.gosuto import Document, read_canonical
from agency.matrix import MatrixError
from agency.settings import read_bounded

_log = logging.getLogger(__name__)

_WAIT_S = 20.0
UNENCRYPTED = (
    "I read nothing: my Gosuto requires encryption, and I read no encrypted messages. "
    "Take trust.requireEncryption out of it to have me answer."
)


class PolicyError(PrerequisiteError):
    """Gosuto that cannot be read: then nothing is read or answered."""


@dataclass(slots=True)
class Policy:
    """The agent's Gosuto in its file; read again when it changes."""

    path: Path
    agent: str
    digest: str = ""
    _document: Document | None = None

    def read(self) -> Document:
        """Read it.

        Raises:
            PolicyError: it cannot be read, or is another agent's: no policy, no work.
        """
        try:
            content = read_bounded(self.path, what="the Gosuto")
            digest = sha256_hex(content)
            if self._document is None or digest != self.digest:
                check_document(self.agent, content)
                self._document, self.digest = read_canonical(content, digest), digest
        except (AgencyError, ValueError) as error:
            why = error.message if isinstance(error, AgencyError) else str(error)
            raise PolicyError(f"no policy, no work: {why}", where=str(self.path)) from error
        return self._document

    def current(self) -> Document:
        """Return what was read last, or read it."""
        return self._document or self.read()


@dataclass(slots=True)
class Listener:
    """The sync loop. `wake` is set when there is work, `taken_back` called for deleted messages."""

    config: ChatConfig
    homeserver: Homeserver
    inbox: Inbox
    policy: Policy
    clock: Clock
    taken_back: Callable[[str], None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _warned: str = ""

    async def listen(self) -> None:
        """Sync until cancelled.

        Raises:
            PrerequisiteError: the token is refused, or the inbox fails.
        """
        attempt, wait_s = 0, 0.0  # the first round only asks: deletions before work
        while True:
            try:
                self.policy.read()  # without one nothing is synced
                await self._round(wait_s)
            except MatrixError as error:
                refuse_token(error)
                attempt += 1
                await self._away(error, attempt, error.retry_after_s)
            except PolicyError as error:
                attempt += 1
                await self._away(error, attempt, None)
            else:
                attempt, wait_s = 0, _WAIT_S

    async def _round(self, wait_s: float) -> None:
        since = self.inbox.since
        if since is None:  # Synapse keeps first answers for minutes: another time, another answer
            wait_s = self.clock.now_ms() % 100_000 / 1000
        batch = await self.homeserver.sync(since, wait_s)
        document = self.policy.read()  # of the moment in which the events are judged
        for room in batch.invited:
            await self._join(room, document)
        if document.trust.require_encryption:
            await self._tell_why(document)
        deleted = self.take(batch, document)
        for event_id in deleted:
            self.taken_back(event_id)
        self.wake.set()

    async def _away(self, error: AgencyError, attempt: int, asked_s: float | None) -> None:
        wait = self.homeserver.backoff.delay_s(attempt, asked_s)
        fields = {"why": error.message, "attempt": attempt, "wait_s": round(wait, 1)}
        _log.warning("not listening", extra={"fields": fields})
        await self.sleep(wait)

    def take(self, batch: Batch, document: Document) -> list[str]:
        """Put a batch into the inbox, with its token; return the messages that were deleted."""
        deleted = []
        with self.inbox.transaction():
            for found in batch.rooms:
                for event in found.events:
                    gone = redacted_by(event)
                    if gone is not None:
                        self.inbox.take_back(gone)
                        deleted.append(gone)
                    else:
                        self._judged(found.room, event, document)
            self.inbox.put_fact("since", batch.next)
            self.inbox.forget(self.clock.now_ms())
        return deleted

    def _judged(self, room: str, event: Event, document: Document) -> None:
        verdict = judge(room, event, self._facts(document))
        if verdict.message is not None:
            refusal = verdict.text if verdict.kind is Kind.REFUSE else None
            now = self.clock.now_ms()
            if not self.inbox.take(
                verdict.message, verdict.text, now, envelope=verdict.envelope, refusal=refusal
            ):
                verdict = Verdict(Kind.IGNORE, "its envelope came before")
        _log_verdict(room, event, verdict)

    def _facts(self, document: Document) -> Facts:
        now = self.clock.now_ms()
        recent, refused = self.inbox.recent(now)
        return Facts(
            self.config.user,
            document,
            self.config.envelopes,
            self.inbox.knows,
            self.inbox.in_thread,
            recent,
            self.inbox.waiting(),
            refused,
            now - int(self.config.oldest_s * 1000),
        )

    async def _join(self, room: str, document: Document) -> None:
        """Join a room that the policy trusts; other invitations stay unanswered."""
        peers = {peer.room for peer in document.trust.peers.values()}
        if room not in {*document.trust.rooms, *(peers if self.config.envelopes else ())}:
            return
        try:
            await self.homeserver.join(room)
        except MatrixError as error:
            if error.temporary:
                raise
            fields = {"room": room, "why": error.message}
            _log.warning("cannot join a room", extra={"fields": fields})

    async def _tell_why(self, document: Document) -> None:
        """Say once for each policy why nothing is read."""
        digest, room = self.policy.digest, document.trust.admin_room
        if self._warned != digest:
            self._warned = digest
            _log.warning("reading nothing", extra={"fields": {"why": UNENCRYPTED}})
        if room is None or self.inbox.fact("told") == digest:
            return
        try:
            await self.homeserver.send(
                room, message(UNENCRYPTED), transaction(digest, "unencrypted")
            )
        except MatrixError as error:  # tried again in the next round
            fields = {"room": room, "why": error.message}
            _log.info("cannot say so in the room", extra={"fields": fields})
        else:
            self.inbox.put_fact("told", digest)


def _log_verdict(room: str, event: Event, verdict: Verdict) -> None:
    fields = {
        "room": room,
        "event": str(event.get("event_id"))[:255],
        "sender": str(event.get("sender"))[:255],
        "why": verdict.reason,
    }
    level = logging.DEBUG if verdict.kind is Kind.IGNORE else logging.INFO
    _log.log(level, verdict.kind.value, extra={"fields": fields})
