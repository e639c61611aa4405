"""Approvals that agents ask for, built from what the parts of a control plane share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.engine import Connection

from agency.control.acp_client import AcpClient
from agency.control.asking import reacting
from agency.control.asking.delivery import Delivery
from agency.control.asking.desk import AskDesk
from agency.control.asking.follower import Follower, Place
from agency.control.asking.recording import Recorder
from agency.control.events import IncomingEvent, Reaction
from agency.control.execution.lifecycle import Lifecycle
from agency.control.matrix.sending import Sender
from agency.control.operations.approving.approvals import meant_by
from agency.control.operations.proposals import Calls
from agency.control.policy import Policy
from agency.control.rooms.voice import Voice
from agency.control.runtimes.base import AgentRuntimeError, State
from agency.control.service.shared import Shared
from agency.control.service.speaking import build_speaker
from agency.protocols import ApprovalDecision, PendingApproval
from agency.secrets import Redactor

_LOOK_S = 5.0  # for the homeserver to say whether the bot can speak in a room


@dataclass(frozen=True, slots=True)
class AcpAgents:
    """The running agents, asked and told over ACP."""

    lifecycle: Lifecycle
    acp: AcpClient

    def names(self) -> Sequence[str]:
        """Return the names of the agents that there are."""
        return sorted(self.lifecycle.agents)

    async def pending(self, agent: str, trace: str) -> tuple[PendingApproval, ...] | None:
        """List what an agent asks, without secrets; None if it does not run, or has no gateway.

        Raises:
            AgencyError: it does not say, or the secrets to leave out are not known.
        """
        record = await self.lifecycle.record(agent)
        if record is None or record.wish.is_down:
            return None
        seen = await self.lifecycle.inspect(agent, trace)
        endpoint = self.lifecycle.runtime.endpoint(agent)
        if seen.status.state is not State.RUNNING or endpoint is None:
            return None
        if seen.report is None:
            raise AgentRuntimeError(seen.problem or "it does not answer")
        if seen.report.gateway is None:
            return None
        told = (await self.acp.approvals(endpoint, trace)).approvals
        if not told:
            return ()
        runtime, held = self.lifecycle.runtime, await self.lifecycle.agent_secrets(agent)
        redact = Redactor([*self.lifecycle.secrets, *runtime.secrets(), *held]).redact
        return tuple(
            each.model_copy(
                update={
                    "tool": redact(each.tool),
                    "rule": None if each.rule is None else redact(each.rule),
                    "shown": redact(each.shown),
                }
            )
            for each in told
        )

    async def decide(
        self, agent: str, trace: str, number: str, decision: ApprovalDecision, key: str
    ) -> None:
        """Tell an agent a decision.

        Raises:
            AcpRefusedError: it does not take it.
            AgencyError: it does not answer, or does not run.
        """
        running = agent in self.lifecycle.agents and await self.lifecycle.is_running(agent)
        endpoint = self.lifecycle.runtime.endpoint(agent) if running else None
        if endpoint is None:
            raise AgentRuntimeError(f"{agent} does not run")
        await self.acp.decide(endpoint, trace, number, decision, key=key)


@dataclass(frozen=True, slots=True)
class AskingService:
    """Parts that follow agents, and that commands use."""

    follower: Follower
    desk: AskDesk


def build_asking(plane: Shared, lifecycle: Lifecycle, sender: Sender) -> AskingService:
    """Build what asks people about calls of agents, and tells agents what they decide."""
    recorder = Recorder(
        build_speaker(plane, sender),
        lambda: plane.running().rules.policy,
        partial(_is_own, plane),
    )
    agents = AcpAgents(lifecycle, plane.acp)
    delivery = Delivery(agents, recorder)
    voice = Voice(plane.room.silence, plane.clock)
    follower = Follower(
        agents, delivery, partial(choose_place, plane, voice), partial(_listen, plane)
    )
    return AskingService(follower, AskDesk(delivery, Calls()))


def meaning(policy: Policy, connection: Connection, reaction: Reaction) -> IncomingEvent | None:
    """Return the command that a reaction to any prompt stands for; None if it is none."""
    return meant_by(policy, connection, reaction) or reacting.meant_by(policy, connection, reaction)


async def choose_place(plane: Shared, voice: Voice, room_id: str) -> Place | None:
    """Choose the room for the prompt of an agent whose Gosuto names `room_id`, if it names one."""
    if room_id and await _can_speak(voice, room_id):
        return Place(room_id, "this room or the control room")
    approvals_room = plane.asking_room()
    if approvals_room:
        return Place(approvals_room, "this room or the control room")
    return None if plane.room_id is None else Place(plane.room_id, "this room")


async def _can_speak(voice: Voice, room_id: str) -> bool:
    try:
        async with asyncio.timeout(_LOOK_S):
            return await voice.obstacle(room_id) is None
    except TimeoutError:
        return False


def _listen(plane: Shared, rooms: frozenset[str]) -> None:
    """Take decisions from these rooms."""
    operations = plane.running()
    if operations.rules.asking_rooms != rooms:
        operations.rules = replace(operations.rules, asking_rooms=rooms)


def _is_own(plane: Shared, who: str) -> bool:
    return plane.running().rules.is_own(who)
