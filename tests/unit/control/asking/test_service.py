"""The service between: secrets left out, impostors not believed, the room for a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from agency.clock import iso
from agency.control.acp_client import AcpUnreachableError
from agency.control.config import AgentEntry
from agency.control.execution.observation import Observation
from agency.control.rooms.voice import Voice
from agency.control.runtimes.base import AgentRuntimeError, Endpoint, RuntimeStatus, State
from agency.control.service.asking import AcpAgents, choose_place
from agency.control.store.agents import AgentRecord, Desired
from agency.control.vault.cipher import VaultError
from agency.errors import AgencyError
from agency.matrix import MatrixError, Silence
from agency.protocols import (
    AgentStatus,
    ApprovalDecision,
    GatewayHealth,
    PendingApproval,
    PendingApprovals,
)
from agency.secrets import SecretValue

TEAM, CONTROL, BESIDE = "!team:x.org", "!control:x.org", "!approvals:x.org"
HELD, TOKEN, OWN = "Zq77-of-the-vault", "token-of-the-runtime", "hs-token-of-the-plane"
ASK = PendingApproval(
    id="ask-1",
    tool="web/post",
    digest="a" * 64,
    rule="post",
    shown=f'{{"a": "{HELD}", "b": "{TOKEN}", "c": "{OWN}", "d": "kept"}}',
    asked_at=iso(0),
    expires_at=iso(600),
)
DENIAL = ApprovalDecision(decision="deny", digest="a" * 64, decided_by="@alice:x.org")


@dataclass
class Fake:
    """A lifecycle, its runtime and ACP, of one agent."""

    state: State = State.RUNNING
    gateway: GatewayHealth | None = field(
        default_factory=lambda: GatewayHealth(health="ok", policy_sha256=None)
    )
    problem: str | None = None
    sealed: bool = False
    desired: Desired = Desired.RUNNING
    decided: list[str] = field(default_factory=list)
    secrets: Any = (SecretValue(OWN),)
    agents: Any = field(default_factory=lambda: {"pm": entry()})

    async def record(self, name: str) -> AgentRecord:
        return AgentRecord(name, self.desired, None, None, None, 0, None)

    @property
    def runtime(self) -> Any:
        return Runtime(self)

    async def inspect(self, name: str, _trace: str) -> Observation:
        report = None if self.problem else status(self.gateway)
        return Observation(
            entry(), RuntimeStatus(name, self.state), problem=self.problem, report=report
        )

    async def is_running(self, _name: str) -> bool:
        return self.state is State.RUNNING

    async def agent_secrets(self, _name: str) -> tuple[SecretValue, ...]:
        if self.sealed:
            raise VaultError("the vault cannot be read")
        return (SecretValue(HELD),)

    async def approvals(self, _endpoint: Endpoint, _trace: str) -> PendingApprovals:
        return PendingApprovals(agent="pm", approvals=(ASK,))

    async def decide(
        self, _endpoint: Any, _trace: str, number: str, _decision: Any, *, key: str
    ) -> None:
        self.decided.append(f"{number} {key}")


@dataclass
class Runtime:
    fake: Fake

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint("http://x", "t", name) if self.fake.state is State.RUNNING else None

    def secrets(self) -> tuple[SecretValue, ...]:
        return (SecretValue(TOKEN),)


def entry() -> AgentEntry:
    return AgentEntry(name="pm", role="pm", matrix_id="@agent-pm:x.org", port=1)


def status(gateway: GatewayHealth | None) -> AgentStatus:
    return AgentStatus(
        agent="pm", role="pm", version="1", pid=1, incarnation="a", project=None,
        started_at=iso(0), uptime_s=1, trace=None, config_sha256=None, secrets=(),
        mcp_servers=(), gateway=gateway, tasks=(),
    )  # fmt: skip


def agents(fake: Any) -> AcpAgents:
    return AcpAgents(fake, fake)


async def test_no_secret_that_the_agency_knows_is_shown() -> None:
    (shown,) = await agents(Fake()).pending("pm", "t") or ()
    assert '"d": "kept"' in shown.shown
    assert not any(each in shown.shown for each in (HELD, TOKEN, OWN))
    assert (shown.id, shown.digest) == (ASK.id, ASK.digest)


async def test_with_a_vault_that_cannot_be_read_nothing_is_shown() -> None:
    with pytest.raises(VaultError):
        await agents(Fake(sealed=True)).pending("pm", "t")


async def test_one_that_is_down_or_without_gateway_asks_nothing() -> None:
    assert await agents(Fake(state=State.STOPPED)).pending("pm", "t") is None
    assert await agents(Fake(gateway=None)).pending("pm", "t") is None
    assert await agents(Fake(desired=Desired.STOPPED)).pending("pm", "t") is None


async def test_one_that_is_not_the_process_of_its_runtime_is_not_believed() -> None:
    fake = Fake(problem="pid 7 answers on its port, but its process is pid 8")
    with pytest.raises(AgentRuntimeError, match="pid 7"):
        await agents(fake).pending("pm", "t")


async def test_a_decision_goes_to_what_runs_alone() -> None:
    fake = Fake()
    await agents(fake).decide("pm", "t", "ask-1", DENIAL, "key-12345")
    assert fake.decided == ["ask-1 key-12345"]
    for gone in (Fake(state=State.FAILED), Fake(agents={})):
        with pytest.raises(AgencyError, match="does not run"):
            await agents(gone).decide("pm", "t", "ask-1", DENIAL, "key-12345")


@dataclass
class Plane:
    room_id: str | None = CONTROL
    beside: str = ""

    def asking_room(self) -> str:
        return self.beside


def voice(found: Silence | Exception | None, clock: Any) -> Voice:
    async def look(_room: str) -> Silence | None:
        if isinstance(found, Exception):
            raise found
        return found

    return Voice(look, clock)


NOT_IN = Silence("the bot is not in the room", "invite it")
REFUSED = MatrixError("forbidden", status=403, errcode="M_FORBIDDEN", where="x")


@pytest.mark.parametrize(
    ("found", "named", "plane", "room"),
    [
        (None, TEAM, Plane(), TEAM),
        (None, TEAM, Plane(beside=BESIDE), TEAM),
        (NOT_IN, TEAM, Plane(beside=BESIDE), BESIDE),
        (REFUSED, TEAM, Plane(), CONTROL),
        (NOT_IN, TEAM, Plane(), CONTROL),
        (None, "", Plane(), CONTROL),
        (None, "", Plane(beside=BESIDE), BESIDE),
        (NOT_IN, TEAM, Plane(room_id=None), None),
    ],
)
async def test_the_prompt_goes_where_people_can_be_asked(
    found: Any, named: str, plane: Any, room: str | None, clock: Any
) -> None:
    place = await choose_place(plane, voice(found, clock), named)
    assert (None if place is None else place.room_id) == room


async def test_unreachable_is_no_answer() -> None:
    class Silent(Fake):
        async def approvals(self, _endpoint: Endpoint, _trace: str) -> PendingApprovals:
            raise AcpUnreachableError("no answer")

    with pytest.raises(AcpUnreachableError):
        await agents(Silent()).pending("pm", "t")
