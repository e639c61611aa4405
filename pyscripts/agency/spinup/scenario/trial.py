"""Trial of control: one secret delivered, one approval granted, one agent respawned.

begin ─▶ secret: form    deliver ─▶ secret: bound, held  hold ─▶ kill ─▶ approval ─▶ agent is back
(while the agents start) (while another agent restarts)          (while it is respawned)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agency.spinup.scenario.approval import Approval
from agency.spinup.scenario.conversation import Conversation
from agency.spinup.scenario.respawn import Respawn
from agency.spinup.scenario.secret import SecretTrial


@dataclass(slots=True)
class Trial:
    """Trial with the last agent of a conversation.

    Where nobody can approve what the operator asks for, no secret is made: it could not be erased.
    """

    talk: Conversation
    secret: SecretTrial = field(init=False)
    approval: Approval = field(init=False)
    respawn: Respawn = field(init=False)

    def __post_init__(self) -> None:
        agent = self.talk.agents[-1]
        self.secret = SecretTrial(self.talk, agent)
        name, mark = self.secret.name, self.secret.mark
        self.approval = Approval(self.talk, self.talk.approvers, name, mark)
        self.respawn = Respawn(self.talk, agent, mark)

    async def begin(self) -> None:
        """Make the secret."""
        if self.talk.approvers:
            await self.secret.make()

    async def deliver(self) -> None:
        """Have the agent get the secret."""
        if self.talk.approvers:
            await self.secret.deliver()

    async def hold(self) -> None:
        """Kill the agent, have its secret erased, and see the agent again."""
        await self.respawn.kill()
        if self.talk.approvers:
            await self.approval.hold()
        await self.respawn.come_back()
