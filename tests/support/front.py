"""The room of an agency in which people decide, over a real store and real handlers."""

from __future__ import annotations

from functools import partial
from typing import Any

from desk import ALICE, BOB, Desk

from agency.control.commands import GRAMMAR, Services
from agency.control.commands.registry import build_handlers
from agency.control.operations import Operations, State
from agency.control.operations.approving.approvals import meant_by
from agency.control.policy import ApprovalRule, People, Policy

ASK = "!agency agents stop pm"
CAROL, VERA = "@carol:x.org", "@vera:x.org"
STOPS = ApprovalRule("stops", frozenset({"agents stop"}))
PEOPLE = People(
    operators=frozenset({ALICE, BOB}),
    approvers=frozenset({CAROL}),
    viewers=frozenset({VERA}),
    admins=frozenset({ALICE}),
)
REAL = ("approvals", "policy", "safe-mode")


class Front:
    """The room of an agency in which a stop needs an approval."""

    def __init__(self, desk: Desk, policy: Policy) -> None:
        self.desk = desk
        self.start(policy)

    def start(self, policy: Policy | None = None) -> None:
        """Start the control plane, again."""
        desk = self.desk
        desk.policy = policy or desk.policy
        self.operations: Operations = desk.make_operations()
        desk.intake.resolve = partial(meant_by, desk.policy)
        lifecycle: Any = None
        services = Services(
            desk.clock,
            desk.database,
            lifecycle,
            GRAMMAR,
            desk.conditions,
            decisions=lambda: self.operations.decisions,
            safety=lambda: self.operations.safety,
        )
        for name, handle in build_handlers(services).items():
            if name.startswith(REAL):
                desk.handlers[name] = handle

    async def say(self, text: str, by: str = ALICE, **changes: Any) -> str:
        """Say something; return the newest reply."""
        await self.desk.take(self.desk.event(text, **{"sender": by, **changes}))
        await self.desk.finish(self.operations)
        return (await self.bodies())[-1]

    async def bodies(self) -> list[str]:
        return [content["body"] for content in await self.desk.said()]

    async def ask(self, by: str = ALICE) -> str:
        """Ask for a stop; return the beginning of the operation's id."""
        prompt = await self.say(ASK, by)
        return prompt.split()[1][:9]

    async def states(self) -> dict[State, int]:
        return await self.desk.states()

    @property
    def stops(self) -> int:
        return sum(call.startswith("agents stop") for call in self.desk.calls)
