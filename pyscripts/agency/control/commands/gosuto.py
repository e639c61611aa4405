"""Commands `gosuto show`, `versions`, `diff`, `validate`, `explain`, `set`, `rollback`, `push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import AgentName, Count, Digest, Settings, Text, settings_of
from agency.control.grammar.spec import argument, flag
from agency.control.wish import leave

if TYPE_CHECKING:
    from agency.control.gosuto.planning import Planned, Request

GOSUTO = Noun("gosuto")
RULE = "gosuto-changes"  # asks for an approval where the instance has no rule of its own

_NUMBERS = 1_000_000
_AGENT = argument("agent", AgentName(), "an agent's name")
_SETTINGS = argument(
    "settings",
    Settings(),
    "fields, FIELD=VALUE, FIELD= to remove, LIST+=VALUE, LIST-=VALUE; or variables of the template",
    required=False,
)
_TEMPLATE = flag("template", Text(64), "the template to begin with", metavar="NAME")
_DOCUMENT = flag("document", Digest(), "a whole document that was handed in", metavar="DIGEST")
_ON = flag("on", Count(_NUMBERS), "the version it was planned on; refused if it moved", metavar="N")


@GOSUTO.command(
    "show",
    _AGENT,
    argument(
        "version", Count(_NUMBERS), "a version's number; the newest if left out", required=False
    ),
    summary="Show an agent's policy document.",
    permission="gosuto.show",
    target="agent",
)
async def show(ctx: Context, agent: str, version: int | None = None) -> Result:
    """Show a version as YAML."""
    from agency.control.gosuto import planning
    from agency.gosuto import as_yaml

    found = await ctx.services.gosuto().version(agent, version)
    text = (
        f"{agent}, version {found.number}, sha256:{found.sha256}, "
        f"by {found.author} at {iso(found.created_ts / 1000)}:"
    )
    detail = {"version": found.number, "sha256": found.sha256}
    return Result(text, as_yaml(planning.read(found)), detail=detail)


@GOSUTO.command(
    "versions",
    _AGENT,
    summary="List the versions of an agent's document.",
    permission="gosuto.versions",
    target="agent",
)
async def versions(ctx: Context, agent: str) -> Result:
    """Show each version on one line, newest first."""
    found = await ctx.services.gosuto().versions(agent)
    if not found:
        return Result(f"{agent} has no Gosuto yet.")
    rows = [
        (
            str(each.number),
            each.sha256[:12],
            each.author,
            iso(each.created_ts / 1000),
            each.made_by,
            each.trace,
        )
        for each in found
    ]
    newest, shown = found[0].number, len(found)
    all_of = f"{newest} versions" if newest > 1 else "one version"
    rest = "" if shown == newest else f"; the newest {shown}"
    header = ("VERSION", "SHA-256", "AUTHOR", "TIME", "MADE BY", "TRACE")
    return Result(f"{agent} has {all_of}{rest}:", table(header, rows))


@GOSUTO.command(
    "diff",
    _AGENT,
    argument("older", Count(_NUMBERS), "a version; the one before if left out", required=False),
    flag("to", Count(_NUMBERS), "the other version; the newest if left out", metavar="N"),
    summary="Show by which fields two versions of a document differ.",
    permission="gosuto.diff",
    target="agent",
)
async def diff(ctx: Context, agent: str, older: int | None = None, to: int | None = None) -> Result:
    """Show the difference, field by field."""
    before, after, changes = await ctx.services.gosuto().difference(agent, older, to)
    text = f"From version {before.number} to version {after.number} of {agent}"
    detail = {
        "from": before.number,
        "to": after.number,
        "changed": [each.field for each in changes],
    }
    if not changes:
        return Result(f"{text} nothing changes.", detail=detail)
    return Result(f"{text}:", "\n".join(map(str, changes)), detail=detail)


@GOSUTO.command(
    "validate",
    _AGENT,
    _SETTINGS,
    _TEMPLATE,
    _DOCUMENT,
    _ON,
    summary="Say what gosuto set would change, and change nothing.",
    permission="gosuto.validate",
    target="agent",
)
async def validate(
    ctx: Context,
    agent: str,
    settings: str | None = None,
    template: str | None = None,
    document: str | None = None,
    on: int | None = None,
) -> Result:
    """Plan a change, and show it."""
    from agency.control.gosuto.planning import Request

    request = Request(agent, settings, template, document, on, is_asked=True)
    planned = await ctx.services.gosuto().plan(request)
    if not planned.changes:
        warnings = _warnings(planned)
        return Result(f"The Gosuto of {agent} is valid, and nothing would change.{warnings}")
    return Result(f"Valid. {planned.text}{_warnings(planned)}", "\n".join(planned.lines))


@GOSUTO.command(
    "explain",
    _AGENT,
    argument("tool", Text(200), "a tool, server/tool"),
    argument(
        "arguments", Settings(), "its arguments, NAME=VALUE or one JSON object", required=False
    ),
    summary="Say whether an agent may call a tool, and by which rule.",
    permission="gosuto.explain",
    target="agent",
)
async def explain(ctx: Context, agent: str, tool: str, arguments: str | None = None) -> Result:
    """Say the decision of the newest version, and what each rule says."""
    from agency.control.gosuto import planning
    from agency.gosuto import decide, findings

    version, document = await ctx.services.gosuto().document(agent)
    given = planning.arguments_of(settings_of(arguments or ""))
    decision = decide(document, tool, given)
    by = "" if decision.rule is None else f", by the rule {decision.rule}"
    text = f"{decision.answer}{by}: {decision.reason} (version {version.number})."
    rows = [
        (each.rule, str(each.answer or "not about this call"), each.reason)
        for each in findings(document, tool, given)
    ]
    block = table(("RULE", "ANSWER", "REASON"), rows) if rows else ""
    detail = {"tool": tool, "answer": str(decision.answer), "rule": decision.rule}
    return Result(text, block, detail=detail)


@GOSUTO.command(
    "set",
    _AGENT,
    _SETTINGS,
    _TEMPLATE,
    _DOCUMENT,
    _ON,
    summary="Change an agent's policy document; makes a new version.",
    permission="gosuto.set",
    changes=True,
    approval=RULE,
    target="agent",
    wish=leave,
)
async def set_document(
    ctx: Context,
    agent: str,
    settings: str | None = None,
    template: str | None = None,
    document: str | None = None,
    on: int | None = None,
) -> Result:
    """Make a new version from fields, a template or a document."""
    from agency.control.gosuto.planning import Request

    return await _make(ctx, Request(agent, settings, template, document, on))


@GOSUTO.command(
    "rollback",
    _AGENT,
    argument("version", Count(_NUMBERS), "the version to go back to"),
    _ON,
    summary="Go back to an older version of a document; makes a new version.",
    permission="gosuto.rollback",
    changes=True,
    approval=RULE,
    target="agent",
    wish=leave,
)
async def rollback(ctx: Context, agent: str, version: int, on: int | None = None) -> Result:
    """Make a new version that is a copy of an older one."""
    from agency.control.gosuto.planning import Request

    return await _make(ctx, Request(agent, on=on, back_to=version))


@GOSUTO.command(
    "push",
    _AGENT,
    summary="Give an agent that runs the newest version of its document.",
    permission="gosuto.push",
    changes=True,
    target="agent",
    wish=leave,
)
async def push(ctx: Context, agent: str) -> Result:
    """Deliver the newest version."""
    version, changed = await ctx.services.gosuto().push(agent, ctx.trace)
    detail = {"version": version.number, "sha256": version.sha256, "changed": changed}
    held = "holds" if changed else "held already"
    return Result(f"{agent} {held} version {version.number} of its Gosuto.", detail=detail)


async def _make(ctx: Context, request: Request) -> Result:
    from agency.control.gosuto.desk import AddVersion
    from agency.control.gosuto.planning import new_version

    planned = await ctx.services.gosuto().plan(request)
    made = new_version(planned, ctx.invocation.sender, ctx.trace)
    detail = {
        "version": made.number,
        "sha256": made.sha256,
        "before": None if planned.before is None else planned.before.number,
        "changed": [each.field for each in planned.changes],
    }
    text = (
        f"{planned.agent} has version {made.number} of its Gosuto, by {made.made_by} "
        f"(sha256:{made.sha256}). If it runs it is given that soon, and again after each start; "
        f"!agency agents status {planned.agent} says which version it holds."
    )
    return Result(f"{text}{_warnings(planned)}", detail=detail, stored=(AddVersion(made),))


def _warnings(planned: Planned) -> str:
    return "".join(f"\nWarning: {each}." for each in planned.warnings)
