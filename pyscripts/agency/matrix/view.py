"""View of a room: its state, read as the bot, or as an agent while the bot is out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agency.matrix.errors import MatrixError
from agency.matrix.paths import client_path
from agency.matrix.rooms import is_agents_own
from agency.matrix.session import MatrixSession
from agency.matrix.state.snapshot import MemberState, Snapshot, read_snapshot

_MOST_EYES = 4  # users that are tried, the bot among them


@dataclass(frozen=True, slots=True)
class RoomView:
    """Reader of rooms. Whoever left a room sees it as it was then, so an agent's view is newer."""

    api: MatrixSession
    bot: str
    agents: Sequence[str]

    async def look(self, room: str) -> Snapshot:
        """Read the state of a room, by whoever of ours is in it.

        Raises:
            MatrixError: none of ours can see it (status 403), or the homeserver did not answer.
        """
        refusal: MatrixError | None = None
        old: Snapshot | None = None
        ours = (each for each in self.agents if is_agents_own(each, self.bot))
        for user in (self.bot, *ours)[:_MOST_EYES]:
            seen = await self._as_seen_by(user, room)
            if isinstance(seen, MatrixError):
                refusal = refusal or seen
            elif seen.membership(user) == "join":
                return seen
            else:
                old = old or seen
        if old is None and refusal is not None:
            raise refusal
        return old or Snapshot()

    async def look_if_seen(self, room: str) -> Snapshot:
        """Read the state of a room; it is empty if none of ours can see it.

        Raises:
            MatrixError: the homeserver did not answer.
        """
        try:
            return await self.look(room)
        except MatrixError as error:
            if error.status != 403:
                raise
            return Snapshot()

    async def _as_seen_by(self, user: str, room: str) -> Snapshot | MatrixError:
        try:
            path = client_path("rooms", room, "state")
            return read_snapshot(await self.api.request_list("GET", path, as_user=user))
        except MatrixError as error:
            if error.status not in (403, 404):
                raise
            return MatrixError(
                error.message, where=error.where or "", status=403, errcode=error.errcode
            )

    async def membership_before(self, room: str, member: MemberState) -> str:
        """Return the membership that a member had before the present one; empty if unknown."""
        if not member.replaces:
            return ""
        path = client_path("rooms", room, "event", member.replaces)
        try:
            event = await self.api.request("GET", path)
        except MatrixError as error:
            if error.temporary:
                raise
            return ""
        content = event.get("content")
        found = content.get("membership") if isinstance(content, dict) else None
        return found if isinstance(found, str) else ""
