"""Agents are started, confirmed, stopped and observed; what is said is what was seen."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import pytest

from agency.control.config import AgentEntry, Limits
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import RefusalError
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    RuntimeStatus,
    StartRequest,
    State,
)
from agency.control.store.agents import AgentRecord, Desired
from agency.control.store.audit import Outcome
from agency.errors import PrerequisiteError
from agency.protocols import AgentStatus, Health, Status
from agency.secrets.redact import MARK, encodings
from agency.secrets.values import SecretValue

TOKEN = 'Zq81-"<token>"_+/ =& of-an-agent'
BASIC = base64.b64encode(f"agent:{TOKEN}".encode()).decode()
CONTROL_TOKEN = "Zq82-token-of-the-control-plane"


@dataclass
class FakeRuntime:
    """Agents that are only noted down."""

    running: dict[str, StartRequest] = field(default_factory=dict)
    failed: dict[str, RuntimeStatus] = field(default_factory=dict)
    refuse: AgentRuntimeError | None = None
    crashed: RuntimeStatus | None = None  # what is seen of an agent that was started
    pids: int = 100
    log: list[str] = field(default_factory=list)

    def kind_of(self, _name: str) -> str:
        return "fake"

    async def start(self, request: StartRequest) -> RuntimeStatus:
        self.log.append(f"start {request.name}")
        if self.refuse is not None:
            raise self.refuse
        await asyncio.sleep(0)
        self.pids += 1
        self.running[request.name] = request
        return await self.status(request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        self.log.append(f"stop {name}")
        self.running.pop(name, None)
        self.failed.pop(name, None)
        return await self.status(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        await self.stop(request.name)
        return await self.start(request)

    async def status(self, name: str) -> RuntimeStatus:
        if self.crashed is not None and name in self.running:
            return self.crashed
        if name in self.failed:
            return self.failed[name]
        if name in self.running:
            return RuntimeStatus(name, State.RUNNING, str(self.pids), "2026-01-01T00:00:00.000Z")
        return RuntimeStatus(name, State.STOPPED)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        return ()

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint("http://x", "token", name) if name in self.running else None

    def secrets(self) -> tuple[SecretValue, ...]:
        return (SecretValue(TOKEN),) if self.running else ()

    async def close(self) -> None:
        self.log.append("close")


@dataclass
class FakeAcp:
    """Agents' answers: what they were started with, unless a test says otherwise."""

    runtime: FakeRuntime
    error: AgentRuntimeError | None = None
    status_error: AgentRuntimeError | None = None
    project: str | None = "as asked"

    async def wait_healthy(
        self,
        endpoint: Endpoint,
        trace: str,
        timeout: float,  # noqa: ASYNC109 - the client's signature
        still_running: Callable[[], Awaitable[bool]],
    ) -> Health:
        if self.error is not None:
            raise self.error
        assert await still_running()
        return Health(status="ok", agent=endpoint.agent or "")

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        if self.status_error is not None:
            raise self.status_error
        request = self.runtime.running[endpoint.agent or ""]
        project = request.project if self.project == "as asked" else self.project
        return Status(
            agent=request.name,
            role=request.role,
            version="1",
            pid=self.runtime.pids,
            project=project,
            started_at="2026-01-01T00:00:00.000Z",
            uptime_s=1.0,
            trace=request.trace,
        )

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        raise NotImplementedError  # for the reconciler alone


@dataclass
class Agents:
    """A lifecycle with its fakes, and an inventory that follows the results."""

    runtime: FakeRuntime
    acp: FakeAcp
    records: dict[str, AgentRecord] = field(default_factory=dict)

    def lifecycle(self) -> Lifecycle:
        async def records() -> Mapping[str, AgentRecord]:
            return self.records

        names = ("developer", "pm")
        return Lifecycle(
            {name: AgentEntry(name=name, role=name, matrix_id="@x:y", port=1) for name in names},
            self.runtime,
            self.acp,
            Limits(),
            records,
            (SecretValue(CONTROL_TOKEN),),
        )

    def wanted(self, name: str, project: str | None) -> None:
        self.records[name] = AgentRecord(name, Desired.RUNNING, project, "running", "1", 1, 1)


@pytest.fixture
def agents() -> Agents:
    runtime = FakeRuntime()
    return Agents(runtime, FakeAcp(runtime))


async def test_start_says_what_was_confirmed(agents: Agents) -> None:
    result = await agents.lifecycle().start("pm", "new-app", "t-1")
    assert result.outcome is Outcome.DONE
    assert result.text == "pm runs, with the project new-app (pid 101)."
    assert agents.runtime.running["pm"].trace == "t-1"
    (change,) = result.changes
    assert (change.desired, change.project, change.handle) == (Desired.RUNNING, "new-app", "101")
    assert result.detail["pid"] == 101


@pytest.mark.parametrize(
    ("name", "hint"), [("developr", "did you mean developer?"), ("zzz", "the agents are")]
)
async def test_unknown_agent_is_refused_with_a_suggestion(
    agents: Agents, name: str, hint: str
) -> None:
    lifecycle = agents.lifecycle()
    for call in (
        partial(lifecycle.start, name, None, "t"),
        partial(lifecycle.stop, name),
        partial(lifecycle.restart, name, None, "t"),
        partial(lifecycle.observe, name, "t"),
    ):
        with pytest.raises(RefusalError) as caught:
            await call()
        assert hint in (caught.value.hint or "")
    assert agents.runtime.log == []


async def test_running_agent_is_left_alone(agents: Agents) -> None:
    lifecycle = agents.lifecycle()
    await lifecycle.start("pm", "new-app", "t-1")
    agents.wanted("pm", "new-app")
    for project in ("new-app", None):
        result = await lifecycle.start("pm", project, "t-2")
        assert result.text == "pm already runs, with the project new-app (pid 101)."
        assert result.changes[0].project == "new-app"
    assert agents.runtime.log == ["start pm"]


async def test_running_agent_is_not_moved_to_another_project(agents: Agents) -> None:
    lifecycle = agents.lifecycle()
    await lifecycle.start("pm", "new-app", "t-1")
    agents.wanted("pm", "new-app")
    with pytest.raises(RefusalError, match="already runs with the project new-app") as caught:
        await lifecycle.start("pm", "other", "t-2")
    assert caught.value.hint == "restart it: !agency agents restart pm --project=other"
    result = await lifecycle.restart("pm", "other", "t-3")
    assert result.changes[0].project == "other"
    assert result.changes[0].handle == "102"


async def test_restart_keeps_the_project(agents: Agents) -> None:
    agents.wanted("pm", "new-app")
    result = await agents.lifecycle().restart("pm", None, "t-1")
    assert agents.runtime.running["pm"].project == "new-app"
    assert result.changes[0].project == "new-app"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda a: setattr(a.runtime, "refuse", AgentRuntimeError("port taken")), "port taken"),
        (lambda a: setattr(a.acp, "error", AgentRuntimeError("not healthy")), "not healthy"),
        (lambda a: setattr(a.acp, "project", None), "it reports no project, not the project new"),
        (lambda a: setattr(a.acp, "status_error", AgentRuntimeError("hangs")), "hangs"),
    ],
)
async def test_agent_that_does_not_come_up_is_stopped_and_explained(
    agents: Agents, break_it: Callable[[Agents], None], said: str
) -> None:
    break_it(agents)
    result = await agents.lifecycle().start("pm", "new-app", "t-1")
    assert result.outcome is Outcome.FAILED
    assert result.text.startswith(f"pm did not start: {said}")
    assert agents.runtime.running == {}
    assert agents.runtime.log[-1] == "stop pm"
    assert result.changes[0].desired is Desired.STOPPED


async def test_agent_that_died_is_explained_by_its_own_last_words(agents: Agents) -> None:
    agents.acp.error = AgentRuntimeError("the agent ended before it was healthy")
    dead = RuntimeStatus("pm", State.FAILED, exit_status=3, detail="exit status 3: no such role")

    async def start(request: StartRequest) -> RuntimeStatus:
        agents.runtime.running[request.name] = request
        return RuntimeStatus(request.name, State.RUNNING, "5")

    agents.runtime.start = start  # type: ignore[method-assign]  # it runs, and then it does not
    lifecycle = agents.lifecycle()
    starting = asyncio.create_task(lifecycle.start("pm", None, "t-1"))
    original = agents.runtime.status

    async def status(name: str) -> RuntimeStatus:
        return dead if agents.runtime.running else await original(name)

    agents.runtime.status = status  # type: ignore[method-assign]
    result = await starting
    assert result.text == "pm did not start: exit status 3: no such role."
    assert result.detail["exit"] == 3


async def test_who_answers_for_another_process_is_not_the_agent(agents: Agents) -> None:
    """An impostor on the agent's port, who was sent its token and says ok to all."""
    lifecycle = agents.lifecycle()
    honest = agents.acp.status

    async def lying(endpoint: Endpoint, trace: str) -> Status:
        return (await honest(endpoint, trace)).model_copy(update={"pid": 4711})

    agents.acp.status = lying  # type: ignore[method-assign]
    result = await lifecycle.start("pm", None, "t-1")
    assert result.outcome is Outcome.FAILED
    assert "pid 4711 answers on its port, but its process is pid 101" in result.text
    agents.acp.status = honest  # type: ignore[method-assign]
    assert (await lifecycle.start("pm", None, "t-1")).outcome is not Outcome.FAILED
    agents.acp.status = lying  # type: ignore[method-assign]
    seen = await lifecycle.observe("pm", "t-1")
    assert seen.told is None
    assert seen.problem is not None
    assert "pid 4711" in seen.problem


async def test_who_answers_for_a_dead_process_is_not_the_agent(agents: Agents) -> None:
    honest = agents.acp.status

    async def dead_by_then(endpoint: Endpoint, trace: str) -> Status:
        told = await honest(endpoint, trace)
        agents.runtime.crashed = RuntimeStatus("pm", State.FAILED, exit_status=3)
        return told

    agents.acp.status = dead_by_then  # type: ignore[method-assign]
    result = await agents.lifecycle().start("pm", None, "t-1")
    assert result.outcome is Outcome.FAILED
    assert "it ended, although its port answered" in result.text


@pytest.mark.parametrize("form", [*sorted(encodings(TOKEN)), BASIC, CONTROL_TOKEN])
async def test_no_failure_repeats_a_token_however_it_is_encoded(agents: Agents, form: str) -> None:
    """What the room is told and what the audit log keeps: the agent's own words, and ours."""
    words = f"Authorization: Basic {form}"
    agents.acp.error = AgentRuntimeError(f"it says {form}", hint=f"not {form}")
    agents.runtime.crashed = RuntimeStatus("pm", State.FAILED, exit_status=3, detail=words)
    result = await agents.lifecycle().start("pm", None, "t-1")
    assert result.outcome is Outcome.FAILED
    said = [result.text, *map(str, result.detail.values())]
    assert said[0].count(MARK) == 2, said
    assert MARK in str(result.detail["error"])
    assert MARK in str(result.detail["reason"])
    for secret in (TOKEN, CONTROL_TOKEN):
        assert not [text for text in said if any(known in text for known in encodings(secret))]


async def test_no_look_repeats_a_token(agents: Agents) -> None:
    await agents.lifecycle().start("pm", None, "t-1")
    agents.acp.status_error = AgentRuntimeError(f"refused {BASIC}")
    assert MARK in str((await agents.lifecycle().observe("pm", "t-2")).problem)
    agents.runtime.crashed = RuntimeStatus("pm", State.FAILED, exit_status=3, detail=BASIC)
    for status in (
        (await agents.lifecycle().observe("pm", "t-3")).status,
        {e.name: s for e, s in await agents.lifecycle().observe_all()}["pm"],
    ):
        assert status.detail is not None
        assert MARK in status.detail
        assert BASIC[-12:] not in status.detail


async def test_a_runtime_that_does_not_answer_hides_its_own_agents_alone(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agents.lifecycle().start("pm", None, "t-1")
    answers = agents.runtime.status

    async def status(name: str) -> RuntimeStatus:
        if name != "pm":
            raise PrerequisiteError(f"no engine answers: {TOKEN}", hint="start it")
        return await answers(name)

    monkeypatch.setattr(agents.runtime, "status", status)
    seen = {entry.name: found for entry, found in await agents.lifecycle().observe_all()}
    assert len(seen) > 1
    for name, found in seen.items():
        assert found.state is (State.RUNNING if name == "pm" else State.UNKNOWN)
        assert found.detail == (None if name == "pm" else f"no engine answers: {MARK}")


async def test_stop_is_idempotent(agents: Agents) -> None:
    lifecycle = agents.lifecycle()
    await lifecycle.start("pm", None, "t-1")
    first, second = await lifecycle.stop("pm"), await lifecycle.stop("pm")
    assert (first.text, second.text) == ("pm is stopped.", "pm was not running.")
    assert {first.outcome, second.outcome} == {Outcome.DONE}
    assert first.changes[0].desired is Desired.STOPPED


async def test_observation_tells_a_silent_agent_from_a_stopped_one(agents: Agents) -> None:
    lifecycle = agents.lifecycle()
    assert (await lifecycle.observe("pm", "t")).told is None
    await lifecycle.start("pm", "new-app", "t")
    seen = await lifecycle.observe("pm", "t")
    assert seen.told is not None
    assert seen.told.project == "new-app"
    agents.acp.status_error = AgentRuntimeError("no answer within 3 s")
    silent = await lifecycle.observe("pm", "t")
    assert (silent.told, silent.problem) == (None, "no answer within 3 s")
    assert silent.status.state is State.RUNNING


@pytest.mark.parametrize("ask", ["stop", "status", "restart", "start that fails"])
@pytest.mark.parametrize("form", sorted({TOKEN, BASIC, CONTROL_TOKEN}))
async def test_error_of_the_runtime_itself_is_redacted(agents: Agents, ask: str, form: str) -> None:
    lifecycle = agents.lifecycle()
    await lifecycle.start("pm", None, "t-1")
    said = AgentRuntimeError(f"it refused {form}", where=form, hint=f"not {form}")

    async def broken(_name: str) -> RuntimeStatus:
        raise said

    if ask == "status":
        agents.runtime.status = broken  # type: ignore[method-assign]  # a fake that fails
    else:
        agents.runtime.stop = broken  # type: ignore[method-assign]  # a fake that fails
    agents.acp.error = AgentRuntimeError("unhealthy")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "stop": lambda: lifecycle.stop("pm"),
        "status": lambda: lifecycle.observe("pm", "t-1"),
        "restart": lambda: lifecycle.restart("pm", None, "t-1"),
        "start that fails": lambda: lifecycle.start("developer", None, "t-1"),
    }
    with pytest.raises(AgentRuntimeError, match="it refused") as caught:
        await calls[ask]()
    told = f"{caught.value.message} {caught.value.where} {caught.value.hint}"
    assert form not in told
    assert MARK in told
