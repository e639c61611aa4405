"""Telling the forge: the answer to each comment, and how each run goes.

An answer is sent once: before it is sent that is remembered, and whoever finds it so after a crash
looks on the forge for the answer's marker first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agency.forge import Forge, ForgeError, Reaction
from agency.recipes.bridge.memory import Memory, Seen, Sent, Settled
from agency.recipes.bridge.pacing import FOR_ALL_CALLS
from agency.recipes.bridge.words.wording import marker, run_comment, run_status
from agency.recipes.record.run import Run
from agency.recipes.record.runs import Runs

# Answers that will be the same at every further attempt.
_FINAL = frozenset({400, 403, 404, 405, 409, 410, 413, 422, 423})
# A call that the forge answers with a fault each time is tried so often, for so long.
_ATTEMPTS = 20
_TRIED_S = 3600.0
_NO_STATUS_S = 3600.0
_MOST_REMEMBERED = 1000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Teller:
    """Teller of one forge. `count` counts what was told: `comment`, `edit`, `status`, `refused`."""

    forge: Forge
    runs: Runs
    memory: Memory
    dashboard: str
    steady: Callable[[], float]
    count: Callable[[str], None]
    _me: int | None = None
    _no_status: dict[str, float] = field(default_factory=dict)
    _commented: dict[str, str] = field(default_factory=dict)  # run → state in its comment
    _failed: dict[str, tuple[int, float]] = field(default_factory=dict)  # attempts, and since when

    async def reply(self, settled: Settled) -> None:
        """Send the reply to a comment that became no run.

        Raises:
            ForgeError, ForgeUnreachableError: not now; it is to be tried again.
        """
        text = f"{settled.reply}\n\n{marker(settled.seen.comment)}"
        await self._answer(settled, text)
        await self.memory.mark(settled.seen, Sent.DONE)

    async def tell(self, run: Run) -> None:
        """Tell of the state of a run.

        Raises:
            ForgeError, ForgeUnreachableError: not now; it is to be tried again.
        """
        answer = await self._comment(run)
        await self._status(run)
        await self.runs.answered(run.id, answer, run.state)
        self._commented.pop(run.id, None)

    async def _comment(self, run: Run) -> int | None:
        """Write or edit the comment of a run; returns its id, if there is one."""
        order = run.order
        if order.comment is None or self._commented.get(run.id) == run.state:
            return run.answer
        settled = await self.memory.settled(order.project, order.comment)
        text = run_comment(run, self.dashboard, settled.note if settled else "")
        answer = run.answer
        if answer is None and settled is not None and settled.state is not Sent.DONE:
            answer = await self._answer(settled, text)
            if answer is not None:
                await self.runs.answered(run.id, answer, run.told)
            await self.memory.mark(settled.seen, Sent.DONE)
        elif answer is not None:
            try:
                await self.forge.edit_comment(order.project, order.pull_request, answer, text)
                self.count("edit")
            except ForgeError as error:
                call = f"comment {answer}: {run.state}"
                await self._give_up(error, order.project, call, "its comment")
        if len(self._commented) >= _MOST_REMEMBERED:
            self._commented.clear()
        self._commented[run.id] = run.state
        return answer

    async def _answer(self, settled: Settled, text: str) -> int | None:
        """Answer a comment, unless that was done; None if the forge does not take it."""
        seen = settled.seen
        if settled.state is Sent.SENDING:
            found = await self._find(seen)
            if found is not None:
                return found
        await self.memory.mark(seen, Sent.SENDING)
        try:
            await self.forge.react(seen.project, seen.pull_request, seen.comment, Reaction.SEEN)
        except ForgeError as error:
            call = f"reaction {seen.project} {seen.comment}"
            await self._give_up(error, seen.project, call, "a reaction")
        try:
            made = await self.forge.comment(seen.project, seen.pull_request, text)
        except ForgeError as error:
            call = f"answer {seen.project} {seen.comment}"
            await self._give_up(error, seen.project, call, "the answer to a comment")
            return None
        self.count("comment")
        return made.id

    async def _find(self, seen: Seen) -> int | None:
        """Find the answer to a comment, which may have been sent before a crash."""
        if self._me is None:
            self._me = (await self.forge.current_user()).id
        since = datetime.fromtimestamp(seen.created_s, UTC)
        while True:
            found = await self.forge.comments_since(seen.project, since)
            for each in found.comments:
                mine = each.number == seen.pull_request and each.comment.author.id == self._me
                if mine and marker(seen.comment) in each.comment.text:
                    return each.comment.id
            if found.more_since is None or found.more_since <= since:
                return None
            since = found.more_since

    async def _status(self, run: Run) -> None:
        project, now = run.order.project, self.steady()
        if self._no_status.get(project, now) > now:
            return
        try:
            status = run_status(run, self.dashboard)
            await self.forge.set_status(project, run.order.commit, status)
            self.count("status")
        except ForgeError as error:
            call = f"status {run.id}: {run.state}"
            await self._give_up(error, project, call, "the commit's status")
            if error.status in (403, 404):  # comments are told without it
                self._no_status[project] = now + _NO_STATUS_S

    async def _give_up(self, error: ForgeError, project: str, call: str, what: str) -> None:
        """Accept that the forge does not take it; raise what may be otherwise next time.

        A fault at one call, such as the status of a commit that is gone, may be one for ever: it is
        accepted after many attempts, if the forge answers otherwise.
        """
        if error.status not in _FINAL:
            attempts, first = self._failed.get(call, (0, self.steady()))
            if len(self._failed) >= _MOST_REMEMBERED:
                self._failed.clear()
            self._failed[call] = (attempts + 1, first)
            may_pass = attempts + 1 < _ATTEMPTS or self.steady() - first < _TRIED_S
            if error.status in FOR_ALL_CALLS or may_pass:
                raise error
            await self.forge.project(project)  # one that is ill as a whole is waited for
        self._failed.pop(call, None)
        self.count("refused")
        fields = {"call": call, "error": str(error)}
        _log.warning("the forge did not take %s", what, extra={"fields": fields})
