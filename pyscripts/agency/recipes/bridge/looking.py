"""One look at a project: its new comments, each settled once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agency.forge import Forge, ForgeError, NewComments, RequestComment
from agency.recipes.bridge.judging import Judge
from agency.recipes.bridge.memory import Effect, Kind, Look, Memory, Seen
from agency.recipes.bridge.pacing import FOR_ALL_CALLS
from agency.recipes.bridge.words import wording
from agency.recipes.bridge.words.reading import Command, is_bot, read_comment

OVERLAP_S = 120  # comments may become visible in another order than that of their moments
ATTEMPTS = 20  # looks at one comment that the forge answers with faults
_KEPT_S = 31 * 24 * 3600
_SAMPLE_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ForgeClock:
    """The forge's clock, read now and then and carried on by a steady one between."""

    forge: Forge
    steady: Callable[[], float]
    _read_s: int = 0
    _read_at: float | None = None

    async def now_s(self) -> int:
        """Return the moment in whole seconds, never ahead of the forge's clock as it was read."""
        at = self.steady()
        if self._read_at is None or not 0 <= at - self._read_at < _SAMPLE_S:
            self._read_s = int((await self.forge.now()).timestamp())
            self._read_at = at
        return self._read_s + int(at - self._read_at)


@dataclass(slots=True)
class Looker:
    """Looker at the projects of one forge; `told` is called for each comment that was settled."""

    forge: Forge
    clock: ForgeClock
    memory: Memory
    judge: Judge
    recipes: dict[str, str]  # by project
    max_age_s: int
    new_run: Callable[[], str]
    told: Callable[[Kind], None]
    _me: int | None = None
    _attempts: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def look(self, project: str) -> None:
        """Settle the new comments of a project.

        Raises:
            ForgeError, ForgeUnreachableError: the forge is away, or wants to be left alone. What
                is not settled is seen again at the next look.
        """
        if self._me is None:
            self._me = (await self.forge.current_user()).id
        now_s = await self.clock.now_s()
        before = await self.memory.look(project)
        if before is None:
            await self.memory.begin(project, now_s)
            return
        found = await self.forge.comments_since(project, since(before, now_s, self.max_age_s))
        whole = True
        for said in found.comments:
            command = self._command(said, oldest(before, now_s, self.max_age_s))
            if command is not None and not await self.memory.knows(project, said.comment.id):
                whole = await self._settle(project, said, command) and whole
        if whole:
            await self.memory.advance(project, _cursor(found, before, now_s))
            await self.memory.prune(project, now_s - _KEPT_S)

    def _command(self, said: RequestComment, oldest_s: int) -> Command | None:
        """Return the command of a comment, if it is one and is to be answered."""
        author, created = said.comment.author, said.comment.created
        if author.id == self._me or created is None or created.timestamp() < oldest_s:
            return None
        if is_bot(author.id, author.name) and author.name.lower() not in self.judge.allowed:
            return None
        return read_comment(said.comment.text)

    async def _settle(self, project: str, said: RequestComment, command: Command) -> bool:
        """Settle a comment; False if the forge's answers did not let it, so it is tried again."""
        key = (project, said.comment.id)
        try:
            effect = await self.judge.judge(project, self.recipes[project], said, command)
        except ForgeError as error:
            if error.status in FOR_ALL_CALLS:
                raise
            self._attempts[key] += 1
            fields = {"project": project, "comment": said.comment.id, "error": str(error)}
            _log.warning("a comment could not be judged", extra={"fields": fields})
            if self._attempts[key] < ATTEMPTS:
                return False
            effect = Effect(Kind.BROKEN, wording.broken_reply())
        assert said.comment.created is not None
        created_s = int(said.comment.created.timestamp())
        author = said.comment.author.name
        seen = Seen(project, said.comment.id, said.number, author, created_s)
        kind = await self.memory.settle(seen, effect, self.new_run())
        self._attempts.pop(key, None)
        if kind is not None:
            fields = {"project": project, "comment": said.comment.id, "by": author, "as": kind}
            _log.info("settled a comment", extra={"fields": fields})
            self.told(kind)
        return True


def since(before: Look, now_s: int, max_age_s: int) -> datetime:
    """Return the moment from which comments are read.

    If the forge's clock went back, nothing tells when the last look was by its new time.
    """
    start_s = now_s - max_age_s
    if now_s >= before.cursor_s:
        start_s = max(start_s, before.cursor_s - OVERLAP_S)
    return datetime.fromtimestamp(max(start_s, 0), UTC)


def oldest(before: Look, now_s: int, max_age_s: int) -> int:
    """Return the moment before which a comment is too old, or was there before the first look."""
    went_back = now_s < before.first_s
    return max(now_s - OVERLAP_S if went_back else before.first_s, now_s - max_age_s)


def _cursor(found: NewComments, before: Look, now_s: int) -> int:
    """Return how far everything is settled; a list that was cut is read on from its end."""
    if found.more_since is None:
        return now_s
    reached = int(found.more_since.timestamp()) + OVERLAP_S
    return min(now_s, max(reached, before.cursor_s + 1))
