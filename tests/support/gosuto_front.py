"""The room of an agency in which people change an agent's Gosuto."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from desk import ALICE, BOB, ROOM, Desk
from front import Front
from sqlalchemy import text

from agency.control.commands import GRAMMAR, Services, parse
from agency.control.commands.registry import build_handlers
from agency.control.gosuto.desk import GosutoDesk
from agency.control.gosuto.planning import GosutoPlans
from agency.control.policy import Policy
from agency.control.store import gosuto as store
from agency.control.store.gosuto import Version

AGENTS = frozenset({"pm", "developer"})
MAKE = (
    f"!agency gosuto set pm --template cron-agent room={ROOM} operator={ALICE} "
    '"task=Sum it up" "schedule=0 7 * * 1-5"'
)


@dataclass
class Port:
    """An agent that takes documents, or refuses them."""

    taken: list[tuple[str, bytes]] = field(default_factory=list)
    refusal: Exception | None = None

    async def apply(self, agent: str, document: bytes, trace: str) -> bool:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append((agent, document))
        return len(self.taken) == 1


class GosutoFront(Front):
    """The room; a change is approved by the other of the two operators."""

    def __init__(self, desk: Desk, policy: Policy) -> None:
        self.port = Port()
        desk.plan = GosutoPlans(AGENTS, parse)
        super().__init__(desk, policy)

    def start(self, policy: Policy | None = None) -> None:
        super().start(policy)
        desk, lifecycle = self.desk, None
        found: Any = lifecycle
        services = Services(
            desk.clock,
            desk.database,
            found,
            GRAMMAR,
            desk.conditions,
            decisions=lambda: self.operations.decisions,
            gosuto=lambda: GosutoDesk(desk.database, AGENTS, self.port),
        )
        for name, handle in build_handlers(services).items():
            if name.startswith(("gosuto", "approvals")):
                desk.handlers[name] = handle

    async def change(self, text: str, by: str = ALICE, approver: str = BOB) -> str:
        """Ask for a change and have it approved; return its answer."""
        prompt = await self.say(text, by)
        assert "needs an approval" in prompt, prompt
        return await self.approve(prompt, approver)

    async def approve(self, prompt: str, by: str = BOB) -> str:
        await self.say(f"approve {prompt.split()[1][:9]}", by)
        return (await self.bodies())[-1]

    async def versions(self, agent: str = "pm") -> list[Version]:
        return await self.desk.database.read(lambda c: store.versions(c, agent, 100))

    async def set_column(self, column: str, value: str) -> None:
        statement = text(f"UPDATE gosuto_versions SET {column} = :value")
        await self.desk.database.write(lambda c: c.execute(statement, {"value": value}))
