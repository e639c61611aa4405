"""Control room, and rooms like it: their users, the room itself and its members.

Every step reads the present state and makes only what is missing: a second run is a no-op.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from agency.matrix.accounts import AgentAccounts
from agency.matrix.entrance import Entrance, RoomFacts
from agency.matrix.errors import MatrixError
from agency.matrix.findings import Finding, Lack, RoomState, member_hint
from agency.matrix.paths import client_path
from agency.matrix.rooms import CONTROL_ROOM, RoomKind
from agency.matrix.session import MatrixSession
from agency.matrix.state.invitations import Call, call
from agency.matrix.state.powers import PowerPlan, power_plan
from agency.matrix.state.silence import Silence, silence
from agency.matrix.state.snapshot import Snapshot
from agency.matrix.view import RoomView

_log = logging.getLogger(__name__)


class Member(Protocol):
    """A user who is brought into the room."""

    @property
    def matrix_id(self) -> str:
        """Full Matrix id."""


class RoomPlan(RoomFacts, Protocol):
    """Facts that the control room needs; `ControlConfig` has them."""

    @property
    def agents(self) -> Sequence[Member]:
        """Agents that are brought into the room."""


async def _nothing(_room: str) -> None:
    """Tell nobody."""


class ControlRoom:
    """Control room, or another room that the bot keeps, set up as the bot.

    `entered` is called with the room as soon as the bot is in it, before anything is made there.
    `agents` are the users who are brought in; whoever employs others changes the list.
    """

    def __init__(self, api: MatrixSession, config: RoomPlan, kind: RoomKind = CONTROL_ROOM) -> None:
        self._api = api
        self._config = config
        self._bot = config.bot_id
        self._kind = kind
        self.agents = [agent.matrix_id for agent in config.agents]
        self._view = RoomView(api, self._bot, self.agents)
        self.accounts = AgentAccounts(api, self._bot, self._view, self._bring_in)
        self.entered: Callable[[str], Awaitable[None]] = _nothing
        self._entrance = Entrance(api, config, self._view, kind)

    def invited(self, room: str, by: str) -> None:
        """Note that somebody invited the bot, for a room that no other user of ours can see."""
        self._entrance.invited(room, by)

    async def silence(self, room: str) -> Silence | None:
        """Return why the bot cannot answer in a room now; None if it can.

        Raises:
            MatrixError: the homeserver refused or did not answer.
        """
        return silence(await self._view.look_if_seen(room), self._bot, self._kind.title)

    async def ensure(self, known: str | None = None) -> RoomState:
        """Register the users, make or find the room, and bring in every member.

        `known` is the room that was the control room before; it stays so without its alias. A
        member who cannot be brought in is a finding, and holds up nobody.

        Raises:
            RoomLostError: the bot may not enter the room.
            MatrixError: the homeserver refused or did not answer.
        """
        await self.accounts.register(self._bot)
        room, findings = await self._entrance.enter(known)
        await self.entered(room)
        snapshot = await self._view.look(room)
        plan = power_plan(snapshot, self._bot, self._config.operators, self._kind.speak)
        findings += await self._ensure_power(room, plan)
        after = snapshot if plan.content is None else await self._view.look(room)
        findings += self._silence(silence(after, self._bot, self._kind.title))
        ours = [agent for agent in self.agents if self.accounts.is_ours(agent)]
        for agent in ours:
            if (now := snapshot.membership(agent)) != "join":
                findings += await self._bring_in(room, agent, now == "invite")
        others = [agent for agent in self.agents if agent not in ours]
        for person in dict.fromkeys((*self._config.operators, *self._config.members, *others)):
            findings += await self._call(room, snapshot, person)
        return RoomState(room, tuple(findings), snapshot.predecessor)

    def _silence(self, found: Silence | None) -> list[Finding]:
        if found is None:
            return []
        lack = Lack.ENCRYPTED if found.encrypted else Lack.SILENCE
        return [Finding(lack, self._bot, found.text, found.hint, blocks=True)]

    async def _bring_in(self, room: str, agent: str, invited: bool) -> list[Finding]:
        """Have an agent's user join; one outside our namespace is invited."""
        try:
            if self.accounts.is_ours(agent):
                await self.accounts.register(agent)
            if not invited:
                await self._invite(room, agent)
            if not self.accounts.is_ours(agent):
                return []  # its owner has it join
            await self._api.request("POST", client_path("join", room), {}, as_user=agent)
        except MatrixError as error:
            if error.temporary and error.status != 429:
                raise
            text = f"{agent} cannot be brought into the {self._kind.title}: {error.message}"
            return [Finding(Lack.AGENT, agent, text, member_hint(error, agent, self._kind.title))]
        return []

    async def _ensure_power(self, room: str, plan: PowerPlan) -> list[Finding]:
        """Put the power levels back to those that the instance asks for."""
        title = self._kind.title
        hint = f"give {self._bot} power 100 in the {title}"
        if plan.content is not None:
            path = client_path("rooms", room, "state", "m.room.power_levels")
            try:
                await self._api.request("PUT", path, plan.content)
            except MatrixError as error:
                if error.temporary:
                    raise
                text = f"the bot cannot set the power levels of the {title}: {error.message}"
                return [Finding(Lack.POWER, self._bot, text, hint)]
            for who in plan.taken:
                _log.warning("took power in the %s", title, extra={"fields": {"user": who}})
        return [
            Finding(
                Lack.POWER,
                who,
                f"{who} has power in the {title} that the bot cannot take",
                f"take the power of {who}, or replace the room; else {hint}",
            )
            for who in plan.out_of_reach
        ]

    async def _call(self, room: str, snapshot: Snapshot, operator: str) -> list[Finding]:
        """Invite a person who is not there, once for each time that they left."""
        before, who, title = "", self._called(operator), self._kind.title
        if snapshot.membership(operator) == "leave":
            before = await self._view.membership_before(room, snapshot.members[operator])
        match call(snapshot, operator, before):
            case Call.PRESENT:
                return []
            case Call.INVITE:
                return await self._invite_operator(room, operator)
            case Call.BANNED:
                text = f"{who} is banned from the {title}"
                hint = f"unban and invite {operator}, or take them out of the operators"
            case Call.DECLINED:
                text = f"{who} declined the invitation to the {title}"
                hint = f"another operator can invite {operator} again"
        return [Finding(Lack.OPERATOR, operator, text, hint)]

    def _called(self, person: str) -> str:
        return f"the operator {person}" if person in self._config.operators else person

    async def _invite(self, room: str, user: str) -> None:
        await self._api.request("POST", client_path("rooms", room, "invite"), {"user_id": user})

    async def _invite_operator(self, room: str, operator: str) -> list[Finding]:
        """Invite one operator; the homeserver of one from elsewhere may be away."""
        try:
            await self._invite(room, operator)
        except MatrixError as error:
            own = operator.partition(":")[2] == self._bot.partition(":")[2]
            if error.temporary and own and error.status not in (429, 502, 504):
                raise
            who, title = self._called(operator), self._kind.title
            text = f"{who} cannot be invited to the {title}: {error.message}"
            return [
                Finding(
                    Lack.OPERATOR, operator, text, member_hint(error, operator, self._kind.title)
                )
            ]
        return []
