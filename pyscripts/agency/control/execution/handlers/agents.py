"""agents list, show, start, stop, restart, status, logs."""

from __future__ import annotations

from collections.abc import Mapping

from agency.clock import iso
from agency.control.execution.lifecycle import Lifecycle, Observation
from agency.control.execution.logs import log_block
from agency.control.execution.result import Invocation, Result
from agency.control.execution.tables import table
from agency.control.runtimes.base import RuntimeStatus, State, Usage
from agency.control.store.agents import AgentRecord

_USUAL_LINES = 20
_MIB = 1024 * 1024


async def list_agents(lifecycle: Lifecycle, _invocation: Invocation) -> Result:
    """Every agent in one line."""
    records = await lifecycle.records()
    rows = [
        (
            entry.name,
            entry.role,
            _state(status),
            _project(records, entry.name) if status.state is State.RUNNING else "-",
            "-" if status.pid is None else str(status.pid),
        )
        for entry, status in await lifecycle.observe_all()
    ]
    if not rows:
        return Result("This agency has no agents; add some in instance.yaml.")
    running = sum(state.startswith("running") for _, _, state, _, _ in rows)
    return Result(
        f"{running} of {len(rows)} agents run.",
        table(("NAME", "ROLE", "STATE", "PROJECT", "PID"), rows),
    )


async def show_agent(lifecycle: Lifecycle, invocation: Invocation) -> Result:
    """What is known of one agent: its configuration, what was wanted, what is seen."""
    name = _name(invocation)
    seen = await lifecycle.observe(name, invocation.trace)
    record = (await lifecycle.records()).get(name)
    rows = [
        ("role", seen.entry.role),
        ("Matrix id", seen.entry.matrix_id),
        ("runtime", lifecycle.runtime.kind),
        ("ACP port", str(seen.entry.port)),
        ("state", _state(seen.status)),
    ]
    if record is not None:
        rows += [
            ("wanted", f"{record.desired}, since {iso(record.changed_ts / 1000)}"),
            ("project", record.project or "-"),
        ]
    return Result(f"{name}:", table((), rows))


async def agent_status(lifecycle: Lifecycle, invocation: Invocation) -> Result:
    """What an agent says of itself; without a name, every agent in one line."""
    if invocation.command.text("agent") is None:
        return await list_agents(lifecycle, invocation)
    name = _name(invocation)
    seen = await lifecycle.observe(name, invocation.trace)
    return Result(
        f"{name}: {_state(seen.status)}" + (f", {_answer(seen)}" if _answer(seen) else ""),
        table((), _facts(seen, await lifecycle.usage(name))),
        detail={"state": str(seen.status.state), "pid": seen.status.pid},
    )


async def agent_logs(lifecycle: Lifecycle, invocation: Invocation) -> Result:
    """The end of an agent's log."""
    name = _name(invocation)
    wanted = invocation.command.number("lines") or _USUAL_LINES
    block = log_block(await lifecycle.log_tail(name, wanted))
    detail = {"asked": wanted, "lines": block.lines}
    if not block.lines:
        return Result(f"{name} has written nothing yet.", detail=detail)
    lines = "line" if block.lines == 1 else f"{block.lines} lines"
    rest = "; what is older does not fit into a reply" if block.is_cut else ""
    return Result(f"The last {lines} of {name}'s log{rest}:", block.text, detail=detail)


async def start_agent(lifecycle: Lifecycle, invocation: Invocation) -> Result:
    """Start an agent on a project."""
    project = invocation.command.text("project")
    return await lifecycle.start(_name(invocation), project, invocation.trace)


async def stop_agent(lifecycle: Lifecycle, invocation: Invocation) -> Result:
    """Stop an agent."""
    return await lifecycle.stop(_name(invocation))


async def restart_agent(lifecycle: Lifecycle, invocation: Invocation) -> Result:
    """Stop and start an agent."""
    project = invocation.command.text("project")
    return await lifecycle.restart(_name(invocation), project, invocation.trace)


def _name(invocation: Invocation) -> str:
    return invocation.command.text("agent") or ""


def _state(status: RuntimeStatus) -> str:
    if status.state is State.FAILED:
        why = status.detail or f"exit status {status.exit_status}"
        return f"failed ({why})"
    return str(status.state)


def _answer(seen: Observation) -> str:
    if seen.problem is not None:
        return f"but it does not answer: {seen.problem}"
    return ""


def _facts(seen: Observation, usage: Usage) -> list[tuple[str, str]]:
    status, told = seen.status, seen.told
    facts: list[tuple[str, str | None]] = [
        ("role", seen.entry.role),
        ("pid", None if status.pid is None else str(status.pid)),
        ("started", status.started_at if status.state is not State.STOPPED else None),
    ]
    if told is not None:
        facts += [
            ("project", told.project or "-"),
            ("up", f"{told.uptime_s:.0f} s"),
            ("version", told.version),
        ]
    facts += [
        ("memory", None if usage.memory is None else f"{usage.memory / _MIB:.1f} MiB"),
        ("processor time", None if usage.cpu_s is None else f"{usage.cpu_s:.1f} s"),
        ("restarts by itself", None if usage.restarts is None else str(usage.restarts)),
        ("last exit status", None if status.exit_status is None else str(status.exit_status)),
    ]
    return [(key, value) for key, value in facts if value is not None]


def _project(records: Mapping[str, AgentRecord], name: str) -> str:
    record = records.get(name)
    return (record.project if record else None) or "-"
