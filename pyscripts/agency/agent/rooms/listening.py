"""Listening: syncs, judges every event by the policy of the moment, and fills the inbox.

While the policy cannot be read nothing is synced: what is said then is judged later. A room that
cannot be joined or read now holds up no other: it is put down with the token (see `retrying`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from agency.agent.policy import check_document
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.events.batches import Batch, RoomEvents
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
_JOIN_S = 5.0
UNENCRYPTED = (
    "I read nothing: my Gosuto requires encryption, and I read no encrypted messages. "
    "Take trust.requireEncryption out of it to have me answer."
)


MOST_LATER = 200
_LATER = "later"  # the fact of the inbox that holds it


class Later(BaseModel):
    """Room to be joined, or events between `to` and `before` to be read there, at `next_ms`."""

    model_config = ConfigDict(frozen=True)

    room: str
    before: str | None = None  # None: an invitation
    to: str = ""
    tries: int = 0
    next_ms: int = 0


_LATERS = TypeAdapter(list[Later])


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
    """The sync loop. `wake` is set when there is work, `taken_back` called for deleted messages.

    `retry` is set when a room is to be joined or read; who does that sets `tried` afterwards.
    """

    config: ChatConfig
    homeserver: Homeserver
    inbox: Inbox
    policy: Policy
    clock: Clock
    taken_back: Callable[[str], None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    retry: asyncio.Event = field(default_factory=asyncio.Event)
    tried: asyncio.Event | None = None
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
        self.tell(self.take(batch, document))
        if batch.invited:
            await self._joined()
        if document.trust.require_encryption:
            await self._tell_why(document)

    async def _joined(self) -> None:
        """Wait until a new invitation was tried, but not for long: others speak meanwhile."""
        if self.tried is not None and self.retry.is_set():
            self.tried.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_S):
                    await self.tried.wait()

    async def _away(self, error: AgencyError, attempt: int, asked_s: float | None) -> None:
        wait = self.homeserver.backoff.delay_s(attempt, asked_s)
        fields = {"why": error.message, "attempt": attempt, "wait_s": round(wait, 1)}
        _log.warning("not listening", extra={"fields": fields})
        await self.sleep(wait)

    def take(self, batch: Batch, document: Document) -> list[str]:
        """Put a batch into the inbox, with its token; return the messages that were deleted."""
        with self.inbox.transaction():
            deleted = self.put(batch.rooms, document)
            self._put_later(batch, self.trusted(document))
            self.inbox.put_fact("since", batch.next)
            self.inbox.forget(self.clock.now_ms())
        return deleted

    def put(self, rooms: Iterable[RoomEvents], document: Document) -> list[str]:
        """Put events into the inbox, in the caller's transaction; return what was deleted."""
        deleted = []
        for found in rooms:
            for event in found.events:
                gone = redacted_by(event)
                if gone is not None:
                    self.inbox.take_back(gone)
                    deleted.append(gone)
                else:
                    self._judged(found.room, event, document)
        return deleted

    def tell(self, deleted: Iterable[str]) -> None:
        """Tell of events that are in the inbox, and of messages that were deleted."""
        for event_id in deleted:
            self.taken_back(event_id)
        self.wake.set()

    def later(self) -> list[Later]:
        """Return what is to be joined or read later."""
        return _LATERS.validate_json(self.inbox.fact(_LATER) or "[]")

    def keep_later(self, kept: Iterable[Later]) -> None:
        """Put down what is to be joined or read later, in place of what was."""
        self.inbox.put_fact(_LATER, _LATERS.dump_json(list(kept)).decode())

    def _put_later(self, batch: Batch, trusted: frozenset[str]) -> None:
        """Put down invitations and gaps of a batch; those of rooms without trust stay as they are.

        An invitation that comes again begins anew.
        """
        to = self.inbox.since or ""
        found = [Later(room=room) for room in batch.invited if room in trusted] + [
            Later(room=each.room, before=each.gap, to=to)
            for each in batch.rooms
            if each.gap is not None and each.room in trusted
        ]
        if not found:
            return
        kept = list({(each.room, each.before): each for each in (*self.later(), *found)}.values())
        for each in kept[:-MOST_LATER]:
            _log.warning("too much is to be done later", extra={"fields": {"room": each.room}})
        self.keep_later(kept[-MOST_LATER:])
        self.retry.set()

    def trusted(self, document: Document) -> frozenset[str]:
        """Return the rooms that the policy trusts."""
        peers = {peer.room for peer in document.trust.peers.values()}
        return frozenset({*document.trust.rooms, *(peers if self.config.envelopes else ())})

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
