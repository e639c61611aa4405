"""A change that is interrupted, at each moment, tells the truth: state, reply and audit log agree.

The runtime is a stand-in in two kinds: its agents end with the control plane, as under `process`,
or live on, as under `systemd`. Store, operations, lifecycle and commands are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest
from desk import ALICE, Desk

from agency.control.commands import GRAMMAR, Services, parse
from agency.control.commands.registry import build_handlers
from agency.control.config import AgentEntry, Limits
from agency.control.execution.lifecycle import Lifecycle
from agency.control.operations import Operations
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    RuntimeStatus,
    StartRequest,
    State,
)
from agency.control.service.reconcile import reconcile
from agency.control.service.targets import AgentTargets
from agency.control.store import agents
from agency.control.store.agents import AgentRecord, Desired
from agency.control.wish import Wish
from agency.protocols import AgentStatus, Health, Status
from agency.secrets import SecretValue


class KilledError(BaseException):
    """The process is killed here."""


@dataclass
class Machine:
    """Agents on a machine, and the moment at which the control plane is to be killed."""

    survives: bool
    running: dict[str, StartRequest] = field(default_factory=dict)
    moment: str = ""
    broken: bool = False
    pids: int = 100

    def reach(self, moment: str) -> None:
        if self.moment == moment:
            self.moment = ""
            raise KilledError

    def kill(self) -> None:
        """End what ends with the control plane."""
        if not self.survives:
            self.running.clear()

    def kind_of(self, _name: str) -> str:
        return "stand-in"

    async def start(self, request: StartRequest) -> RuntimeStatus:
        self.reach("before acting")
        self._must_work()
        self._run(request)
        self.reach("after acting")
        return await self.status(request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        self.reach("before acting")
        self._must_work()
        if self.moment == "while acting":
            self.reach("while acting")
        self.running.pop(name, None)
        self.reach("after acting")
        return await self.status(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        self.reach("before acting")
        self._must_work()
        self.running.pop(request.name, None)
        self.reach("while acting")
        self._run(request)
        self.reach("after acting")
        return await self.status(request.name)

    def _run(self, request: StartRequest) -> None:
        self.pids += 1
        self.running[request.name] = request

    def _must_work(self) -> None:
        if self.broken:
            raise AgentRuntimeError("the runtime does not answer", hint="look at it")

    async def status(self, name: str) -> RuntimeStatus:
        if name in self.running:
            return RuntimeStatus(name, State.RUNNING, str(self.pids))
        return RuntimeStatus(name, State.STOPPED)

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint("http://x", "token", name) if name in self.running else None

    def secrets(self) -> tuple[SecretValue, ...]:
        return ()

    # The agents' own answers.

    async def wait_healthy(self, endpoint: Endpoint, *_more: Any) -> Health:
        self.reach("while acting")  # a start: the process runs, and is not healthy yet
        return Health(status="ok", agent=endpoint.agent or "")

    async def ask_status(self, endpoint: Endpoint, _trace: str) -> Status:
        request = self.running[endpoint.agent or ""]
        return Status(
            agent=request.name,
            role=request.role,
            version="1",
            pid=self.pids,
            project=request.project,
            started_at="2026-01-01T00:00:00.000Z",
            uptime_s=1.0,
            trace=request.trace,
        )


@dataclass
class Acp:
    """The agents' side of a machine, as the lifecycle asks for it."""

    machine: Machine

    async def wait_healthy(self, endpoint: Endpoint, *more: Any) -> Health:
        return await self.machine.wait_healthy(endpoint, *more)

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        return await self.machine.ask_status(endpoint, trace)

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        raise NotImplementedError  # for the reconciler alone


def plane(desk: Desk, machine: Machine) -> Operations:
    """Start the operations of a control plane over a machine."""

    async def records() -> Mapping[str, AgentRecord]:
        return {record.name: record for record in await desk.database.read(agents.records)}

    lifecycle = Lifecycle(
        agents={"pm": AgentEntry(name="pm", role="pm", matrix_id="@agent-pm:x.org", port=9)},
        runtime=machine,  # type: ignore[arg-type]  # what the lifecycle needs of one
        acp=Acp(machine),
        limits=Limits(),
        records=records,
    )
    services = Services(desk.clock, desk.database, lifecycle, GRAMMAR, desk.conditions)
    desk.handlers = dict(build_handlers(services))
    desk.targets = AgentTargets(lifecycle)
    return desk.make_operations()


async def start_over(desk: Desk, machine: Machine) -> None:
    """Start the control plane, with its reconciler, and let it finish everything."""
    operations = plane(desk, machine)
    numbers = iter(f"t-again-{desk.clock.now_ms()}-{n}" for n in range(100))
    running = asyncio.create_task(operations.run())
    assert desk.targets is not None
    await asyncio.wait_for(
        reconcile(["pm"], desk.targets, operations, desk.clock, lambda: next(numbers)), 10
    )
    operations.wake.set()
    async with asyncio.timeout(10):
        while await desk.unfinished():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.005)
    operations.stop()
    await asyncio.wait_for(running, 10)


async def killed(desk: Desk, machine: Machine, moment: str, said: str) -> dict[str, Any]:
    """Give a command, and kill the control plane at that moment; returns the command's event."""
    event = desk.event(said)
    await desk.take(event)
    machine.moment = moment
    operations = plane(desk, machine)
    if moment == "before accepted":
        machine.moment = ""
    elif moment == "before its turn":
        machine.moment = ""
        operations.stop()
        await operations.step()
    elif moment == "before the commit":
        machine.moment = ""
        operations._changes.recorder = Unsettled(operations._recorder)  # type: ignore[assignment]  # a recorder but for that
        with pytest.raises(KilledError):
            await desk.finish(operations)
    elif moment == "before the reply":
        machine.moment = ""
        await desk.finish(operations)  # committed, and no sender has taken the reply
    else:
        with pytest.raises(KilledError):
            await desk.finish(operations)
    await operations.close()
    machine.kill()
    return event


@dataclass
class Unsettled:
    """A recorder that is killed when a result is to be stored."""

    recorder: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recorder, name)

    async def settle(self, _settlement: Any) -> NoReturn:
        raise KilledError


COMMANDS = {
    "start": ("!agency agents start pm", None, Wish(Desired.RUNNING)),
    "start on beta": (
        "!agency agents start pm --project=beta",
        None,
        Wish(Desired.RUNNING, "beta"),
    ),
    "start again": ("!agency agents start pm", "alpha", Wish(Desired.RUNNING, "alpha")),
    "start again on beta": (
        "!agency agents start pm --project=beta",
        "alpha",
        Wish(Desired.RUNNING, "alpha"),
    ),
    "stop": ("!agency agents stop pm", "alpha", Wish(Desired.STOPPED)),
    "disable": ("!agency agents disable pm", "alpha", Wish(Desired.DISABLED)),
    "enable": ("!agency agents enable pm", None, Wish(Desired.STOPPED)),
    "start of a disabled one": ("!agency agents start pm", None, Wish(Desired.DISABLED)),
    "stop of a disabled one": ("!agency agents stop pm", None, Wish(Desired.DISABLED)),
    "restart": ("!agency agents restart pm", "alpha", Wish(Desired.RUNNING, "alpha")),
    "restart on beta": (
        "!agency agents restart pm --project=beta",
        "alpha",
        Wish(Desired.RUNNING, "beta"),
    ),
    "restart of a stopped one": (
        "!agency agents restart pm --project=beta",
        None,
        Wish(Desired.RUNNING, "beta"),
    ),
}
MOMENTS = (
    "before accepted",
    "before its turn",
    "before acting",
    "while acting",
    "after acting",
    "before the commit",
    "before the reply",
)
# It is refused while the agent runs with another project; this one had ended when its turn came.
TAKES_EFFECT = {("start again on beta", moment, False) for moment in MOMENTS[:2]}
# A start of an agent that runs reaches no runtime.
NEVER = {
    (name, m)
    for name in ("start again", "start again on beta", "enable", "start of a disabled one")
    for m in MOMENTS[2:5]
}
DISABLED_BEFORE = {"enable", "start of a disabled one", "stop of a disabled one"}
PAIRS = [(name, moment) for name in COMMANDS for moment in MOMENTS if (name, moment) not in NEVER]


def described(wish: Wish) -> str:
    if wish.is_down:
        return "pm is stopped"
    return "pm is running, with " + (
        "no project" if wish.project is None else f"the project {wish.project}"
    )


@pytest.fixture(params=["ends", "survives"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """A machine whose agents end with the control plane, and one whose agents live on."""
    return Machine(survives=request.param == "survives")


@pytest.mark.parametrize(("name", "moment"), PAIRS)
async def test_state_reply_and_audit_log_agree(
    desk: Desk, machine: Machine, name: str, moment: str
) -> None:
    said, project, wish = COMMANDS[name]
    await desk.database.write(lambda c: agents.synchronise(c, {"pm"}, 1))
    if project is not None:
        before = desk.event(f"!agency agents start pm --project={project}")
        await desk.take(before)
        await desk.finish(plane(desk, machine))
    if name in DISABLED_BEFORE:
        await desk.take(desk.event("!agency agents disable pm"))
        await desk.finish(plane(desk, machine))
    if (name, moment, machine.survives) in TAKES_EFFECT:
        wish = Wish(Desired.RUNNING, "beta")
    first = len(await desk.said())
    rows = len(await desk.outcomes())

    event = await killed(desk, machine, moment, said)
    await start_over(desk, machine)

    (record,) = await desk.database.read(agents.records)
    assert record.wish == wish
    assert described(wish) == await seen(desk)
    (reply,) = [
        content
        for content in (await desk.said())[first:]
        if content["org.agency.reply"]["command"] == event["event_id"]
    ]
    outcomes = [o for actor, _, o in (await desk.outcomes())[rows:] if actor == ALICE]
    body = reply["body"]
    if moment in ("before accepted", "before its turn", "before the reply"):
        refused = body.startswith(("pm already runs with the project alpha", "pm is disabled"))
        assert outcomes == ["accepted", "refused" if refused else "done"]
        held = name == "start again on beta" and wish.project == "alpha"
        assert refused is (held or name == "start of a disabled one")
        assert "Seen now" not in body
    else:
        assert outcomes == ["accepted", "interrupted"]
        assert f"Seen now: {described(wish)}." in body
        assert "was not run again" in body
        assert f"pm is {wish}." in body
        asks_again = name in ("start again on beta", "start of a disabled one")
        assert ("Send it again" in body) is asks_again
    # And once more: nothing is left to do.
    count = len(await desk.outcomes())
    machine.survives = True
    await start_over(desk, machine)
    assert len(await desk.outcomes()) == count


async def seen(desk: Desk) -> str:

    assert desk.targets is not None
    return await desk.targets.observe(parse("!agency agents status pm"), "t-look")


async def wanted(desk: Desk, machine: Machine, project: str | None = None) -> None:
    """Put `pm` into the inventory, and let it run with a project if one is given."""
    await desk.database.write(lambda c: agents.synchronise(c, {"pm"}, 1))
    if project is not None:
        await desk.take(desk.event(f"!agency agents start pm --project={project}"))
        await desk.finish(plane(desk, machine))


async def wish(desk: Desk) -> Wish:
    (record,) = await desk.database.read(agents.records)
    return record.wish


async def test_stop_behind_an_interrupted_start_decides(desk: Desk, machine: Machine) -> None:
    """The agent is not started once more for it, and the answer says what comes next."""
    await wanted(desk, machine)
    start, stop = desk.event("!agency agents start pm"), desk.event("!agency agents stop pm")
    await desk.take(start, stop)
    machine.moment = "after acting"
    with pytest.raises(KilledError):
        await desk.finish(plane(desk, machine))
    machine.kill()
    await start_over(desk, machine)
    assert await wish(desk) == Wish(Desired.STOPPED)
    assert await seen(desk) == "pm is stopped"
    bodies = {c["org.agency.reply"]["command"]: c["body"] for c in await desk.said()}
    assert bodies[start["event_id"]].endswith(
        "Next comes what waits behind it: !agency agents stop pm"
    )
    assert bodies[stop["event_id"]] in ("pm is stopped.", "pm was not running.")
    assert "system" not in {actor for actor, _, _ in await desk.outcomes()}


@pytest.mark.parametrize("moment", ["before acting", "while acting", "after acting"])
async def test_killed_again_while_it_is_mended(desk: Desk, machine: Machine, moment: str) -> None:
    await wanted(desk, machine, "alpha")
    event = await killed(desk, machine, "while acting", "!agency agents restart pm --project=beta")
    machine.running.clear()
    machine.moment = moment
    with pytest.raises(KilledError):
        await desk.finish(plane(desk, machine))
    machine.kill()
    await start_over(desk, machine)
    assert await wish(desk) == Wish(Desired.RUNNING, "beta")
    assert await seen(desk) == "pm is running, with the project beta"
    said = await desk.said()
    (body,) = [c["body"] for c in said if c["org.agency.reply"]["command"] == event["event_id"]]
    assert "Seen now: pm is running, with the project beta." in body


async def test_abandoned_at_shutdown_it_is_as_if_killed(desk: Desk, machine: Machine) -> None:
    await wanted(desk, machine, "alpha")
    reached = asyncio.Event()

    async def hanging(_name: str) -> RuntimeStatus:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    await desk.take(desk.event("!agency agents stop pm"))
    operations = plane(desk, machine)
    machine.stop = hanging  # type: ignore[method-assign]  # it hangs while it is stopped
    await operations.step()
    await asyncio.wait_for(reached.wait(), 10)
    operations.stop()
    await operations.close()
    del machine.stop
    machine.kill()
    await start_over(desk, machine)
    assert await wish(desk) == Wish(Desired.STOPPED)
    body = (await desk.said())[-1]["body"]
    assert "pm is to be stopped." in body
    assert body.endswith("Seen now: pm is stopped.")


@pytest.mark.parametrize(
    ("said", "project", "after", "told"),
    [
        (
            "!agency agents stop pm",
            "alpha",
            Wish(Desired.STOPPED),
            "pm is still to be stopped",
        ),
        (
            "!agency agents restart pm --project=beta",
            "alpha",
            Wish(Desired.RUNNING, "beta"),
            "pm is still to run, with the project beta",
        ),
        (
            "!agency agents start pm",
            None,
            Wish(Desired.RUNNING),
            "pm is still to run, with no project",
        ),
    ],
)
async def test_change_that_fails_says_what_is_wished_and_the_next_start_does_it(
    desk: Desk, machine: Machine, said: str, project: str | None, after: Wish, told: str
) -> None:
    """The runtime does not answer, so it is not known how the agent is."""
    await wanted(desk, machine, project)
    machine.broken = True
    await desk.take(desk.event(said))
    await desk.finish(plane(desk, machine))
    assert (await desk.said())[-1]["body"].split("\n")[-1] == (
        f"{told}: the control plane tries that again."
    )
    assert await wish(desk) == after
    machine.broken = False
    await start_over(desk, machine)
    assert await seen(desk) == described(after)


async def test_start_that_fails_leaves_it_stopped_and_says_so(desk: Desk, machine: Machine) -> None:
    await wanted(desk, machine, "alpha")

    async def refuse(_request: StartRequest) -> RuntimeStatus:
        raise AgentRuntimeError("its port is taken")

    machine.restart = refuse  # type: ignore[method-assign]  # it cannot be started
    await desk.take(desk.event("!agency agents restart pm --project=beta"))
    await desk.finish(plane(desk, machine))
    assert (await desk.said())[-1]["body"] == (
        "pm did not start: its port is taken.\npm stays stopped until a command starts it."
    )
    assert await wish(desk) == Wish(Desired.STOPPED)
    del machine.restart
    await start_over(desk, machine)
    assert await seen(desk) == "pm is stopped"


async def test_agent_that_was_never_commanded_is_left_alone(desk: Desk) -> None:
    """A fresh or lost database stops nobody."""
    machine = Machine(survives=True)
    await wanted(desk, machine)
    machine.running["pm"] = StartRequest("pm", "pm", None, "t-0")
    await start_over(desk, machine)
    assert await seen(desk) == "pm is running, with no project"
    assert await desk.outcomes() == []


async def test_start_keeps_the_project_of_an_agent_that_is_to_run(
    desk: Desk, machine: Machine
) -> None:
    """Also of one that ended by itself; a stop forgets the project."""
    await wanted(desk, machine, "alpha")
    machine.running.clear()
    for said, project in (("start", "alpha"), ("stop", None), ("start", None)):
        await desk.take(desk.event(f"!agency agents {said} pm"))
        await desk.finish(plane(desk, machine))
        assert (await wish(desk)).project == project


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        ("!agency agents start pm --project=beta", "pm already runs with the project alpha."),
        ("!agency agents start pn", "There is no agent pn."),
    ],
)
async def test_name_of_an_agent_keeps_its_case(desk: Desk, said: str, begins: str) -> None:
    machine = Machine(survives=True)
    await wanted(desk, machine, "alpha")
    await desk.take(desk.event(said))
    await desk.finish(plane(desk, machine))
    assert (await desk.said())[-1]["body"].startswith(begins)
