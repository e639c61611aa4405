"""Answering of one thing that was asked: typing, one reply, edits for progress, the answer.

A timer's event has no message that is answered: its answer is said in the room by itself, once.

 begin ─▶ program ─▶ settle (answer on disk) ─▶ reply, or edit of the reply ─▶ finish
            └ first_s later: a reply "working", edited each edit_s while the text grows

Killed anywhere, it goes on: with the program's own journal, and with the reply that stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from agency.agent.programs.tools import Tools
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.events.contents import edit, message, reply, transaction
from agency.agent.rooms.events.envelope import peer_named
from agency.agent.rooms.events.waking import trusts
from agency.agent.rooms.homeserver import TYPING_MS
from agency.agent.rooms.inbox import DELETED, Inbox, State, Work
from agency.agent.rooms.program import Assignment, Program
from agency.agent.rooms.voice import Voice
from agency.canonical import sha256_hex
from agency.errors import AgencyError
from agency.gosuto import Document
from agency.matrix import MatrixError

_log = logging.getLogger(__name__)

MAX_TRIES = 3
_SHOWN = 2000  # characters of the text so far that progress shows
WORKING = "Working on it …"


Record = Callable[[str, Mapping[str, str]], None]


def unrecorded(_event: str, _detail: Mapping[str, str]) -> None:
    """Put nothing on record."""


@dataclass(slots=True)
class _Progress:
    """Text so far, and the number of edits that showed it."""

    text: str = ""
    shown: str = ""
    edits: int = 0
    sending: asyncio.Future[None] | None = None

    def take(self, text: str) -> None:
        """Take the text so far."""
        self.text = text


@dataclass(frozen=True, slots=True)
class Answerer:
    """Worker on the inbox's entries; `record` puts what is taken and how it ends on record."""

    config: ChatConfig
    inbox: Inbox
    voice: Voice
    program: Program
    tools: Callable[[Work], Tools]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    record: Record = unrecorded

    async def answer(self, work: Work) -> None:
        """Answer what was asked, or go on with it.

        Raises:
            PrerequisiteError: inbox or token fail: nothing more is done.
        """
        asked, resumed = assignment(work), work.state is not State.WAITING
        self.record("message.resumed" if resumed else "message.taken", told(work))
        if resumed and work.reply_id is None and work.timer is None:
            work = await self._with_reply(work)
        if work.state is not State.ANSWERED:
            if not still_trusted(self.voice.document(), work):
                self._end(work, State.DROPPED, "no longer trusted")
                return
            self.inbox.settle(work.event_id, await self._worked(work, asked))
        final = self.inbox.get(work.event_id) or work
        if final.answer == DELETED and final.reply_id is None:
            self._end(final, State.DROPPED, "deleted")
            return
        try:
            await self._publish(final, resumed=resumed)
        except MatrixError as error:
            self._end(final, State.DONE, f"the homeserver refuses the answer: {error.message}")
        else:
            self._end(final, State.DONE, "answered")

    async def _with_reply(self, work: Work) -> Work:
        """Look for a reply that was sent before a kill, and not acknowledged."""
        found = await self.voice.homeserver.own_reply(work.room, work.root, work.event_id)
        if found is None:
            return work
        self.inbox.replied(work.event_id, found)
        return replace(work, reply_id=found)

    async def _worked(self, work: Work, asked: Assignment) -> str:
        if work.tries >= MAX_TRIES:
            return f"Not done: I was ended {work.tries} times while I worked on it."
        self.inbox.begin(work.event_id)
        progress = _Progress()
        async with self._shown(work, progress):
            try:
                return await self.program.work(
                    asked, self.voice.document(), self.tools(work), progress.take
                )
            except AgencyError as error:
                _log.warning("the program failed", extra={"fields": error.as_dict()})
                return f"Not done: {error.message}"

    @asynccontextmanager
    async def _shown(self, work: Work, progress: _Progress) -> AsyncIterator[None]:
        """Show that the agent works; a message that is under way at the end is waited for."""
        typing = asyncio.ensure_future(self._type(work.room))
        telling = asyncio.ensure_future(self._tell(work, progress))
        if work.timer is not None:
            telling.cancel()  # nobody waits for it
        try:
            yield
            telling.cancel()
            await _sent(progress)
        except asyncio.CancelledError:
            self.inbox.interrupted(work.event_id)
            found = self.inbox.get(work.event_id)
            if found is not None and found.answer == DELETED:
                await _sent(progress)
            raise
        finally:
            left = [each for each in (typing, telling, progress.sending) if each is not None]
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self.voice.homeserver.typing(work.room, on=False)

    async def _type(self, room: str) -> None:
        while True:
            await self.voice.homeserver.typing(room, on=True)
            await self.sleep(TYPING_MS / 1500)

    async def _tell(self, work: Work, progress: _Progress) -> None:
        """Show that the agent works, then what it has so far; answers come before progress."""
        await self.sleep(self.config.first_s)
        while True:
            text = progress.text.strip()[-_SHOWN:] or WORKING
            if text != progress.shown and self.voice.may_tell():
                progress.sending = asyncio.ensure_future(self._show(work, text, progress))
                await asyncio.shield(progress.sending)
            await self.sleep(self.config.edit_s)

    async def _show(self, work: Work, text: str, progress: _Progress) -> None:
        found = self.inbox.get(work.event_id)
        if found is None or found.answer is not None:
            return
        progress.shown = text
        try:
            if found.reply_id is None:
                await self._first(found, text)
                return
            progress.edits += 1
            step = transaction(found.event_id, f"{found.tries}-{progress.edits}")
            await self.voice.say_now(found.room, edit(text, found.reply_id, found.event_id), step)
        except MatrixError as error:  # the answer will meet it again
            _log.info("progress is not shown", extra={"fields": {"why": error.message}})

    async def _publish(self, work: Work, *, resumed: bool) -> None:
        """Say the answer. After a kill the reply may hold an older text, so it is edited, too."""
        text, reply_id = work.answer or "", work.reply_id
        if work.timer is not None:
            await self.voice.say(work.room, message(text), transaction(work.event_id, "said"))
            return
        if reply_id is None:
            reply_id = await self._first(work, text)
            if not resumed:
                return
        step = transaction(work.event_id, "deleted" if text == DELETED else "end")
        await self.voice.say(work.room, edit(text, reply_id, work.event_id), step)

    async def _first(self, work: Work, text: str) -> str:
        content = reply(text, work.root, work.event_id)
        sent = await self.voice.say(work.room, content, transaction(work.event_id, "reply"))
        self.inbox.replied(work.event_id, sent)
        return sent

    def _end(self, work: Work, state: State, why: str) -> None:
        self.inbox.finish(work.event_id, state)
        self.record("message.ended", told(work) | {"outcome": why[:200]})
        self.program.forget(assignment(work))
        fields = {"event": work.event_id, "trace": assignment(work).trace, "why": why}
        _log.info("ended", extra={"fields": fields})


async def _sent(progress: _Progress) -> None:
    if progress.sending is not None:
        await progress.sending


def assignment(work: Work) -> Assignment:
    """Return what the program is told."""
    return Assignment(
        work.event_id, work.room, work.root, work.sender, work.text, work.protocol, work.timer
    )


def told(work: Work) -> dict[str, str]:
    """Return what the audit log is told of something that was asked: digests, no text. Pure."""
    texts = {"asked_sha256": work.text, "answer_sha256": work.answer}
    return {
        "message": work.event_id,
        "room": work.room,
        "sender": work.sender,
        "trace": assignment(work).trace,
        **{
            name: sha256_hex(text.encode(errors="surrogatepass"))
            for name, text in texts.items()
            if text is not None
        },
    }


def still_trusted(document: Document, work: Work) -> bool:
    """Return whether the policy of this moment still takes what was asked. Pure."""
    if work.timer is not None:
        gateway, trust = document.gateways.get(work.timer), document.trust
        there = gateway is not None and gateway.message == work.text
        return there and trust.admin_room == work.room and not trust.require_encryption
    if work.protocol is None:
        return trusts(document, work.room, work.sender)
    if document.trust.require_encryption:
        return False
    return peer_named(document, work.sender, work.room, work.protocol) is not None
