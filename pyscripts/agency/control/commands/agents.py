"""Commands `agents list`, `show`, `start`, `stop`, `restart`, `disable`, `status` and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.describing import answer_of, facts_of, secrets_of, state_of
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import AgentName, Count, Text, UserId, Variables, variables_of
from agency.control.grammar.spec import argument, flag
from agency.control.policy import SYSTEM
from agency.control.runtimes.base import State
from agency.control.wish import Desired, Wish, leave

if TYPE_CHECKING:
    from agency.control.grammar.command import Command
    from agency.control.store.agents import AgentRecord

AGENTS = Noun("agents")

_MOST_LINES = 100
_USUAL_LINES = 20
_PAGE = 50  # agents
_MOST_PAGES = 10_000

AGENT = argument("agent", AgentName(), "an agent's name, as `agents list` shows it")
_PROJECT = flag("project", Text(most=200), "the project to work on", metavar="TEXT")


def _wish_start(command: Command, before: Wish | None, runs: bool) -> Wish | None:
    """Wish for a running agent; a start leaves one that runs already as it is."""
    return None if runs else _wish_restart(command, before, runs)


def _wish_stop(_command: Command, before: Wish | None, _runs: bool) -> Wish | None:
    """Wish for a stopped agent; one that is disabled stays so."""
    return before if _is_disabled(before) else Wish(Desired.STOPPED)


def _wish_disable(_command: Command, _before: Wish | None, _runs: bool) -> Wish:
    return Wish(Desired.DISABLED)


def _wish_delete(_command: Command, _before: Wish | None, _runs: bool) -> Wish:
    return Wish(Desired.DELETED)


def _wish_enable(_command: Command, before: Wish | None, _runs: bool) -> Wish | None:
    """Wish for an agent that may be started again; one that is to run is left as it is."""
    return Wish(Desired.STOPPED) if before is None or before.is_down else None


def _is_disabled(wish: Wish | None) -> bool:
    return wish is not None and wish.desired in (Desired.DISABLED, Desired.DELETED)


def _wish_restart(command: Command, before: Wish | None, _runs: bool) -> Wish | None:
    """Wish for a running agent, which keeps its project if the command names none.

    A disabled one stays so: the command is refused.
    """
    if _is_disabled(before):
        return None
    kept = before.project if before is not None else None
    return Wish(Desired.RUNNING, command.text("project") or kept)


@AGENTS.command(
    "list",
    flag("page", Count(_MOST_PAGES), "page to show; the first if left out", metavar="N"),
    summary="List every agent and its state.",
    permission="agents.list",
    aliases=("!list-agents",),
)
async def list_agents(ctx: Context, page: int | None = None) -> Result:
    """Show each agent of a page on one line."""
    lifecycle = ctx.services.lifecycle
    names = sorted(lifecycle.agents)
    if not names:
        return Result(
            "This agency has no agents; add some in instance.yaml, or with !agency agents create."
        )
    page, pages = page or 1, -(-len(names) // _PAGE)
    if page > pages:
        raise RefusalError(
            f"there is no page {page}", hint=f"the agents fill {pages} of {_PAGE} each"
        )
    shown = names[(page - 1) * _PAGE : page * _PAGE]
    records = await lifecycle.some_records(shown)
    observed = await lifecycle.observe_some(shown)
    rows = [
        (
            entry.name,
            entry.role,
            state_of(status),
            _project(records, entry.name) if status.state is State.RUNNING else "-",
            status.handle or "-",
        )
        for entry, status in observed
    ]
    running = sum(state.startswith("running") for _, _, state, _, _ in rows)
    handles = {status.handle_name for _, status in observed}
    handle = handles.pop().upper() if len(handles) == 1 else "HANDLE"
    text = f"{running} of {len(rows)} agents run."
    if pages > 1:
        last = (page - 1) * _PAGE + len(rows)
        first = last - len(rows) + 1
        more = f"; --page={page + 1} shows the next" if page < pages else ""
        text = f"Agents {first} to {last} of {len(names)}; {running} of these run{more}."
    return Result(
        text,
        table(("NAME", "ROLE", "STATE", "PROJECT", handle), rows),
    )


@AGENTS.command(
    "show",
    AGENT,
    summary="Show an agent's configuration and state.",
    permission="agents.show",
    target="agent",
)
async def show_agent(ctx: Context, agent: str) -> Result:
    """Show an agent's configuration, its wanted state and its observed state."""
    lifecycle = ctx.services.lifecycle
    seen = await lifecycle.observe(agent, ctx.trace)
    record = await lifecycle.record(agent)
    rows = [
        ("role", seen.entry.role),
        ("Matrix id", seen.entry.matrix_id),
        ("runtime", lifecycle.runtime.kind_of(agent)),
        ("ACP port", str(seen.entry.port)),
        ("state", state_of(seen.status)),
    ]
    staff = ctx.services.staff
    made = None if staff is None else staff.inventory.creation(agent)
    if made is not None:
        rows += [("template", made.template), ("made by", made.by)]
        rows += [("slot", made.slot)] if made.slot else []
    if record is not None:
        rows += [
            ("wanted", f"{record.desired}, since {iso(record.changed_ts / 1000)}"),
            ("project", record.project or "-"),
        ]
    return Result(f"{agent}:", table((), rows))


@AGENTS.command(
    "start",
    AGENT,
    _PROJECT,
    summary="Start an agent.",
    permission="agents.start",
    changes=True,
    target="agent",
    aliases=("!start-agent",),
    wish=_wish_start,
)
async def start_agent(ctx: Context, agent: str, project: str | None = None) -> Result:
    """Start an agent on a project."""
    return await ctx.services.lifecycle.start(agent, project, ctx.trace, ctx.step)


@AGENTS.command(
    "stop",
    AGENT,
    summary="Stop an agent.",
    permission="agents.stop",
    changes=True,
    target="agent",
    aliases=("!stop-agent",),
    wish=_wish_stop,
)
async def stop_agent(ctx: Context, agent: str) -> Result:
    """Stop an agent."""
    return await ctx.services.lifecycle.stop(agent)


@AGENTS.command(
    "restart",
    AGENT,
    _PROJECT,
    summary="Stop an agent and start it again.",
    permission="agents.restart",
    changes=True,
    target="agent",
    aliases=("!restart-agent",),
    wish=_wish_restart,
)
async def restart_agent(ctx: Context, agent: str, project: str | None = None) -> Result:
    """Stop and start an agent."""
    return await ctx.services.lifecycle.restart(agent, project, ctx.trace, ctx.step)


@AGENTS.command(
    "status",
    argument("agent", AgentName(), "an agent's name; all if left out", required=False),
    summary="Ask an agent for its status.",
    permission="agents.status",
    target="agent",
    aliases=("!agent-status",),
)
async def agent_status(ctx: Context, agent: str | None = None) -> Result:
    """Show an agent's state and its answer; without a name, each agent on one line."""
    if agent is None:
        return await list_agents(ctx)
    lifecycle = ctx.services.lifecycle
    seen = await lifecycle.inspect(agent, ctx.trace)
    facts = facts_of(seen, await lifecycle.usage(agent))
    if seen.report is not None:
        held = await ctx.services.gosuto().describe(agent, seen.report.config_sha256)
        facts += [("Gosuto", held), ("secrets", secrets_of(seen.report))]
    return Result(
        f"{agent}: {state_of(seen.status)}" + (f", {answer_of(seen)}" if answer_of(seen) else ""),
        table((), facts),
        detail={"state": str(seen.status.state), **seen.status.handle_detail},
    )


@AGENTS.command(
    "logs",
    AGENT,
    flag(
        "lines",
        Count(_MOST_LINES),
        f"number of lines, 1 to {_MOST_LINES}; default {_USUAL_LINES}",
        default=_USUAL_LINES,
        metavar="N",
    ),
    summary="Show the end of an agent's log.",
    permission="agents.logs",
    target="agent",
)
async def agent_logs(ctx: Context, agent: str, lines: int) -> Result:
    """Show the end of an agent's log."""
    from agency.control.execution.logs import log_block

    block = log_block(await ctx.services.lifecycle.log_tail(agent, lines))
    detail = {"asked": lines, "lines": block.lines}
    if not block.lines:
        return Result(f"{agent} has written nothing yet.", detail=detail)
    shown = "line" if block.lines == 1 else f"{block.lines} lines"
    rest = "; older lines do not fit into a reply" if block.is_cut else ""
    return Result(f"The last {shown} of {agent}'s log{rest}:", block.text, detail=detail)


@AGENTS.command(
    "disable",
    AGENT,
    summary="Stop an agent, and start it no more until it is enabled.",
    permission="agents.disable",
    changes=True,
    target="agent",
    wish=_wish_disable,
)
async def disable_agent(ctx: Context, agent: str) -> Result:
    """Stop an agent for good."""
    return await _dismissed(ctx, agent, await ctx.services.lifecycle.disable(agent))


@AGENTS.command(
    "enable",
    AGENT,
    summary="Let a disabled agent be started again.",
    permission="agents.enable",
    changes=True,
    target="agent",
    wish=_wish_enable,
)
async def enable_agent(ctx: Context, agent: str) -> Result:
    """Take back that an agent is disabled; it stays stopped until somebody starts it."""
    result = await ctx.services.lifecycle.enable(agent)
    if ctx.services.staff is not None:
        ctx.services.staff.welcome(agent)
    return result


@AGENTS.command(
    "respawn",
    AGENT,
    summary="Start an agent that died afresh, however often that failed.",
    permission="agents.respawn",
    changes=True,
    target="agent",
    wish=_wish_restart,
)
async def respawn_agent(ctx: Context, agent: str) -> Result:
    """Replace what is left of an agent; the reconciler leaves one alone that runs again."""
    lifecycle = ctx.services.lifecycle
    if ctx.invocation.sender == SYSTEM:
        return await lifecycle.start(agent, None, ctx.trace, ctx.step)
    return await lifecycle.restart(agent, None, ctx.trace, ctx.step)


@AGENTS.command(
    "cancel",
    AGENT,
    flag("task", Text(most=64), "one task; every running one if left out", metavar="ID"),
    summary="Cancel what an agent is at; it goes on to run.",
    permission="agents.cancel",
    changes=True,
    target="agent",
    wish=leave,
)
async def cancel_tasks(ctx: Context, agent: str, task: str | None = None) -> Result:
    """Cancel one task of an agent, or every running one."""
    return await ctx.services.employer().tasks.cancel(agent, task, ctx.trace)


@AGENTS.command(
    "create",
    argument("agent", AgentName(), "the new agent's name"),
    flag("template", Text(most=64), "what it is made from", required=True, metavar="NAME"),
    flag(
        "var",
        Variables(most=2000),
        "NAME=VALUE for the template, one after another, with quotes or without",
    ),
    flag("mxid", UserId(), "an account that there is, for one that logs in itself", metavar="ID"),
    summary="Make an agent from a template; it runs when it is started.",
    permission="agents.create",
    changes=True,
    target="agent",
    wish=leave,
    alone=True,
)
async def create_agent(
    ctx: Context, agent: str, template: str, var: str | None = None, mxid: str | None = None
) -> Result:
    """Make an agent, with its account; nothing runs until somebody starts it."""
    values = dict(variables_of(var or "") or ())
    staff, by = ctx.services.employer(), ctx.invocation.sender
    return await staff.create(agent, template, values, by, ctx.trace, mxid=mxid, step=ctx.step)


@AGENTS.command(
    "delete",
    AGENT,
    summary="Delete an agent that a command made; what it did stays on record.",
    permission="agents.delete",
    changes=True,
    approval="deletion",
    target="agent",
    wish=_wish_delete,
)
async def delete_agent(ctx: Context, agent: str) -> Result:
    """Stop an agent, have its account leave its rooms, and take it out of the inventory."""
    staff = ctx.services.staff
    return await (ctx.services.lifecycle.delete(agent) if staff is None else staff.delete(agent))


async def _dismissed(ctx: Context, agent: str, result: Result) -> Result:
    """Have the account of an agent that is stopped for good leave its rooms, and say so.

    That it did is kept with the result: whatever ends this before, a start makes up for it.
    """
    from agency.control.store.agents import Dismissal

    staff = ctx.services.staff
    about, done = ("", True) if staff is None else await staff.dismiss(agent)
    stored = (Dismissal(agent),) if done else ()
    return replace(result, text=result.text + about, stored=stored)


def _project(records: Mapping[str, AgentRecord], name: str) -> str:
    record = records.get(name)
    return (record.project if record else None) or "-"
