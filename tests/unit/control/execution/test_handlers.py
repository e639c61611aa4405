"""What each command says, over a real store and agents that are only noted down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from agency.clock import Clock
from agency.control.commands import GRAMMAR, NOUNS, Context, Services, handler, parse
from agency.control.conditions import Conditions
from agency.control.config import AgentEntry, Limits
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.gosuto.desk import GosutoDesk
from agency.control.runtimes.base import Endpoint, RuntimeStatus, State, Usage
from agency.control.store import schema
from agency.control.store.agents import AgentRecord, Desired
from agency.protocols import AgentStatus, HeldSecret, Status
from agency.secrets.values import SecretValue
from agency.store import Database


class SeenRuntime:
    """A runtime that shows one running, one failed and one stopped agent."""

    written: tuple[str, ...] = ("started", "listening")
    boxes: frozenset[str] = frozenset()  # those that are known by a container

    async def status(self, name: str) -> RuntimeStatus:
        seen = {
            "pm": RuntimeStatus("pm", State.RUNNING, "42", "2026-01-01T00:00:00.000Z"),
            "dev": RuntimeStatus("dev", State.FAILED, exit_status=3, detail="exit status 3: gone"),
        }.get(name, RuntimeStatus(name, State.STOPPED))
        return replace(seen, handle_name="container") if name in self.boxes else seen

    def kind_of(self, _name: str) -> str:
        return "seen"

    async def usage(self, name: str) -> Usage:
        return Usage(52_428_800, 1.25, 2) if name == "pm" else Usage()

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        return self.written[-lines:] if name == "pm" else ()

    def secrets(self) -> tuple[SecretValue, ...]:
        return (SecretValue("token-of-pm"),)

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint("http://x", "t", name) if name == "pm" else None


class SeenAcp:
    """An agent that answers."""

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        return Status(
            agent="pm",
            role="pm",
            version="9.9",
            pid=42,
            project="new-app",
            started_at="2026-01-01T00:00:00.000Z",
            uptime_s=12.3,
            trace=trace,
        )

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        held = (HeldSecret(name="github", version=2, expires_at="2026-01-01T01:00:00.000Z"),)
        return AgentStatus(
            **(await self.status(endpoint, trace)).model_dump(),
            incarnation="run-1",
            config_sha256=None,
            secrets=held,
            mcp_servers=(),
            tasks=(),
        )


@pytest.fixture
def lifecycle() -> Lifecycle:
    async def inventory() -> Mapping[str, AgentRecord]:
        return {"pm": AgentRecord("pm", Desired.RUNNING, "new-app", "running", "42", 1000, 1000)}

    return Lifecycle(
        {
            name: AgentEntry(name=name, role="role", matrix_id=f"@agent-{name}:x", port=20001)
            for name in ("pm", "dev", "qa")
        },
        SeenRuntime(),  # type: ignore[arg-type]  # only what is looked at
        SeenAcp(),  # type: ignore[arg-type]
        Limits(),
        inventory,
    )


Say = Callable[..., Awaitable[Result]]


@pytest.fixture
def say(lifecycle: Lifecycle, database: Database, clock: Clock) -> Say:
    """Run the handler of a command, as if it had been said at a time."""

    async def say(text: str, at: int = 1000) -> Result:
        command = parse(text)
        invocation = Invocation(command, "@alice:x", "t-1", at)
        port: Any = None  # nothing is pushed here
        desk = GosutoDesk(database, lifecycle.agents, port)
        services = Services(
            clock, database, lifecycle, GRAMMAR, Conditions(clock), gosuto=lambda: desk
        )
        context = Context(services, invocation)
        return await handler(command)(context, **command.arguments)

    return say


def test_every_command_of_the_grammar_has_a_handler_and_no_other() -> None:
    declared = [entry.spec.name for noun in NOUNS for entry in noun.entries]
    assert declared == [spec.name for spec in GRAMMAR.commands]
    handlers = [entry.handler for noun in NOUNS for entry in noun.entries]
    assert len(set(handlers)) == len(handlers)


async def test_help(say: Say) -> None:
    result = await say("!agency help")
    assert all(spec.name in result.block for spec in GRAMMAR.commands)
    one = await say("!agency help agents start")
    assert "--project" in one.block


async def test_ping_says_how_old_the_command_is(say: Say, clock: Clock) -> None:
    result = await say("!agency ping", clock.now_ms() - 42)
    assert result.text == "pong, 42 ms after you sent it"


async def test_version(say: Say) -> None:
    result = await say("!agency version")
    assert result.text.startswith("agency ")
    assert f"schema {schema.REVISION}" in result.text


async def test_list_shows_each_agent_as_it_is(say: Say) -> None:
    result = await say("!agency agents list")
    assert result.text == "1 of 3 agents run."
    header, dev, pm, qa = result.block.splitlines()
    assert header.split() == ["NAME", "ROLE", "STATE", "PROJECT", "PID"]
    assert "failed (exit status 3: gone)" in dev
    assert pm.split() == ["pm", "role", "running", "new-app", "42"]
    assert qa.split() == ["qa", "role", "stopped", "-", "-"]


async def test_list_names_what_agents_are_known_by(say: Say, lifecycle: Lifecycle) -> None:
    lifecycle.runtime.boxes = {"pm"}  # type: ignore[attr-defined]
    mixed = await say("!agency agents list")
    assert mixed.block.splitlines()[0].split()[-1] == "HANDLE"
    lifecycle.runtime.boxes = {"pm", "dev", "qa"}  # type: ignore[attr-defined]
    alike = await say("!agency agents list")
    assert alike.block.splitlines()[0].split()[-1] == "CONTAINER"


async def test_status_of_one_agent_is_its_own_word(say: Say) -> None:
    result = await say("!agent-status pm")
    assert result.text == "pm: running"
    assert "new-app" in result.block
    assert "12 s" in result.block
    shown = {line.split("  ")[0]: line.rsplit("  ", 1)[1] for line in result.block.splitlines()}
    assert (shown["Gosuto"], shown["secrets"]) == ("-", "github (version 2)")
    failed = await say("!agency agents status dev")
    assert failed.text == "dev: failed (exit status 3: gone)"


async def test_status_shows_what_the_runtime_counts(say: Say) -> None:
    running = await say("!agency agents status pm")
    shown = dict(line.rsplit("  ", 1) for line in running.block.splitlines())
    counted = {key.strip(): value for key, value in shown.items()}
    assert counted["memory"] == "50.0 MiB"
    assert counted["processor time"] == "1.2 s"
    assert counted["restarts by itself"] == "2"
    assert "last exit status" not in counted
    failed = await say("!agency agents status dev")
    assert failed.block.splitlines()[-1].split() == ["last", "exit", "status", "3"]
    assert "memory" not in failed.block, "nothing is made up where nothing is counted"


async def test_logs_are_shown_and_their_number_is_on_record(say: Say) -> None:
    result = await say("!agency agents logs pm")
    assert result.text == "The last 2 lines of pm's log:"
    assert result.block == "    started\n    listening"
    assert result.detail == {"asked": 20, "lines": 2}, "never what the lines say"
    one = await say("!agency agents logs pm --lines=1")
    assert (one.text, one.block) == ("The last line of pm's log:", "    listening")
    none = await say("!agency agents logs qa")
    assert (none.text, none.block) == ("qa has written nothing yet.", "")


async def test_logs_of_an_unknown_agent_are_refused(say: Say) -> None:
    with pytest.raises(RefusalError, match="no agent pn") as caught:
        await say("!agency agents logs pn")
    assert "did you mean pm?" in (caught.value.hint or "")


async def test_logs_that_do_not_fit_begin_later(say: Say, lifecycle: Lifecycle) -> None:
    lifecycle.runtime.written = tuple(f"{n} {'x' * 400}" for n in range(100))  # type: ignore[attr-defined]
    result = await say("!agency agents logs pm --lines=100")
    assert result.text.endswith("lines of pm's log; older lines do not fit into a reply:")
    assert result.block.splitlines()[-1].startswith("    99 ")
    assert result.detail["lines"] == len(result.block.splitlines()) < 100


async def test_logs_hold_no_secret_that_the_control_plane_knows(
    say: Say, lifecycle: Lifecycle
) -> None:
    long = "as-token/" + "s" * 600  # a cut comes only after the secret is gone
    lifecycle.secrets = (SecretValue(long), SecretValue("two lines of\nsome key material"))
    lifecycle.runtime.written = (  # type: ignore[attr-defined]
        f"bearer {long}!",
        "token=token-of-pm",
        "dG9rZW4tb2YtcG0=",  # the same in base64
        "two lines of",
        "some key material",
        "nothing to hide",
    )
    result = await say("!agency agents logs pm")
    assert result.block.splitlines() == [
        "    bearer [***]!",
        "    token=[***]",
        "    [***]0=",  # two bits that depend on what follows
        "    [***]",
        "    nothing to hide",
    ]


async def test_status_of_none_is_that_of_all(say: Say) -> None:
    result = await say("!agent-status")
    assert result.text == "1 of 3 agents run."


async def test_show(say: Say) -> None:
    result = await say("!agency agents show pm")
    assert "@agent-pm:x" in result.block
    assert "runtime    seen" in result.block
    assert "running, since 1970-01-01T00:00:01.000Z" in result.block
    with pytest.raises(RefusalError):
        await say("!agency agents show pn")


async def test_audit_tail_and_trace(say: Say, desk: Any) -> None:
    await desk.say("!agency ping")
    await desk.say("!agency agents start pm")
    tail = await say("!agency audit tail 2")
    assert tail.text == "The last 2 entries of the audit log:"
    assert [line.split()[2] for line in tail.block.splitlines()[1:]] == ["accepted", "done"]
    trace = tail.block.splitlines()[1].split()[-1]
    found = await say(f"!agency trace {trace}")
    assert "!agency agents start pm" in found.block
    with pytest.raises(RefusalError, match="nothing is recorded"):
        await say("!agency trace t-none")
