"""Judge of a comment that is a command: its effect, by what the forge says now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from agency.forge import Comment, Forge, ForgeError, MergeRequest, MergeState, RequestComment
from agency.recipes.bridge.memory import Effect, Kind
from agency.recipes.bridge.words import wording
from agency.recipes.bridge.words.reading import Command, Stop, Unknown
from agency.recipes.record.run import Order

# Of a forge that keeps the members from the bot. Gitea redirects who is no member itself.
_KEPT_BACK = frozenset({301, 302, 303, 307, 308, 403})
_PUSH_NOTED_S = 1.5  # Gitea notes a push about 0.3 s after it


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge of comments of one forge."""

    forge: Forge
    dashboard: str
    allowed: frozenset[str]  # accounts in lower case
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def judge(
        self, project: str, recipe: str, said: RequestComment, command: Command
    ) -> Effect:
        """Decide on a command.

        Raises:
            ForgeError, ForgeUnreachableError: the forge did not say what is needed, now.
        """
        refusal = await self._refusal(project, said.comment)
        if refusal is not None:
            return refusal
        if said.comment.edited:
            return Effect(Kind.EDITED, wording.edited_reply())
        if isinstance(command, Stop):
            write = partial(wording.stop_reply, dashboard=self.dashboard)
            return Effect(Kind.STOP, stop_reply=write)
        if isinstance(command, Unknown):
            return Effect(Kind.UNKNOWN, wording.unknown_reply(command.words))
        request = await self.forge.merge_request(project, said.number)
        if request.head_gone:
            return Effect(Kind.GONE, wording.gone_reply())
        if request.state is not MergeState.OPEN:
            return Effect(Kind.CLOSED, wording.closed_reply(request.state.value))
        moved = await self._moved(project, request, said.comment)
        if moved and request.from_fork:
            return Effect(Kind.MOVED, wording.moved_reply())
        order = Order(
            recipe=recipe,
            project=project,
            pull_request=said.number,
            commit=request.head_sha,
            head_ref=request.head_ref,
            clone_url=(await self.forge.project(project)).clone_url,
            stages=command.stages,
            requester=said.comment.author.name,
            comment=said.comment.id,
        )
        return Effect(Kind.RUN, note=wording.moved_note() if moved else "", order=order)

    async def _refusal(self, project: str, comment: Comment) -> Effect | None:
        """Return the answer to who may not start runs; None for who may."""
        owner, name = project.rpartition("/")[0], comment.author.name.lower()
        if name in self.allowed or name == owner.lower():
            return None
        try:
            member = await self.forge.is_member(owner, comment.author)
        except ForgeError as error:
            if error.status not in _KEPT_BACK:
                raise
            return Effect(Kind.UNREADABLE, wording.unreadable_reply(owner))
        return None if member else Effect(Kind.STRANGER, wording.stranger_reply(owner))

    async def _moved(self, project: str, request: MergeRequest, comment: Comment) -> bool:
        """Return whether the head, as it was read, got commits after the comment.

        Of a fork's branch, a stranger could push between comment and look, so the forge is given
        the time to note it.
        """
        if request.from_fork:
            await self.sleep(_PUSH_NOTED_S)
        return await self.forge.pushed_after(project, request.number, comment)


def allowed_accounts(names: Iterable[str]) -> frozenset[str]:
    """Return the allow-list in the form that `Judge` compares."""
    return frozenset(name.lower() for name in names)
