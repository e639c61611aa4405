"""Commands `secrets list`, `info`, `set`, `rotate`, `delete`, `bind`, `unbind` and `push`.

No command takes a value or shows one: a value comes in by a link, or by the standard input of
`agency command --value-stdin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import AgentName, OneOf, SecretName
from agency.control.grammar.spec import argument, flag
from agency.control.wish import leave

if TYPE_CHECKING:
    from agency.control.vault.vault import Listed, Wanted

SECRETS = Noun("secrets")

TYPES = ("text", "api-key", "matrix-token", "json")
_SECRET = argument("secret", SecretName(), "a secret's name, as `secrets list` shows it")
_AGENT = argument("agent", AgentName(), "an agent's name, as `agents list` shows it")
_KIND = "secret"


@SECRETS.command(
    "list",
    summary="List the secrets, their versions and agents; never a value.",
    permission="secrets.list",
)
async def list_secrets(ctx: Context) -> Result:
    """Show each secret on one line."""
    found = await ctx.services.secrets().vault.listed()
    if not found:
        return Result("There are no secrets; !agency secrets set NAME makes one.")
    rows = [
        (
            each.secret.name,
            each.secret.type,
            str(each.secret.version),
            "yes" if each.secret.critical else "-",
            iso(each.secret.changed_ts / 1000),
            ", ".join(each.agents) or "-",
        )
        for each in found
    ]
    number = "1 secret" if len(rows) == 1 else f"{len(rows)} secrets"
    return Result(
        f"{number}:", table(("NAME", "TYPE", "VERSION", "CRITICAL", "CHANGED", "AGENTS"), rows)
    )


@SECRETS.command(
    "info",
    _SECRET,
    summary="Show what is known of a secret, but its value.",
    permission="secrets.info",
)
async def secret_info(ctx: Context, secret: str) -> Result:
    """Show a secret's facts."""
    found = await ctx.services.secrets().vault.info(secret)
    return Result(f"{secret}:", table((), _facts(found)))


def _facts(found: Listed) -> list[tuple[str, str]]:
    secret = found.secret
    return [
        ("type", secret.type),
        ("version", str(secret.version)),
        ("critical", "yes: rotating it takes an approval" if secret.critical else "no"),
        ("made", iso(secret.created_ts / 1000)),
        ("this version", f"{iso(secret.changed_ts / 1000)}, asked for by {secret.author}"),
        ("agents", ", ".join(found.agents) or "-"),
        ("master key", secret.key_id),
    ]


@SECRETS.command(
    "set",
    _SECRET,
    flag("type", OneOf(TYPES), "what the value must look like", default="text", metavar="TYPE"),
    flag(
        "critical",
        OneOf(("yes", "no")),
        "whether rotating it takes an approval",
        default="no",
        metavar="YES-OR-NO",
    ),
    summary="Make a secret; the reply has a link at which its value is entered once.",
    permission="secrets.set",
    changes=True,
    target="secret",
    target_kind=_KIND,
    wish=leave,
)
async def set_secret(ctx: Context, secret: str, type: str, critical: str) -> Result:  # noqa: A002
    """Begin a secret: its first value comes by a link, or came with the command."""
    from agency.control.vault.vault import Wanted

    desk = ctx.services.secrets()
    if await desk.vault.next_version(secret) > 1:
        raise RefusalError(
            f"there is a secret {secret} already",
            hint=f"give it another value: !agency secrets rotate {secret}",
        )
    wanted = Wanted(secret, type, 1, critical == "yes", ctx.invocation.sender)
    return await _entered(ctx, wanted)


@SECRETS.command(
    "rotate",
    _SECRET,
    summary="Give a secret another value; its agents get it by themselves.",
    permission="secrets.rotate",
    changes=True,
    target="secret",
    target_kind=_KIND,
    wish=leave,
)
async def rotate_secret(ctx: Context, secret: str) -> Result:
    """Begin the next version of a secret."""
    from agency.control.vault.vault import Wanted

    found = (await ctx.services.secrets().vault.info(secret)).secret
    if found.critical and ctx.invocation.rule is None:
        raise RefusalError(f"{secret} is critical, and nobody approved this", hint="ask again")
    wanted = Wanted(secret, found.type, found.version + 1, found.critical, ctx.invocation.sender)
    return await _entered(ctx, wanted)


async def _entered(ctx: Context, wanted: Wanted) -> Result:
    link = await ctx.services.secrets().enter(wanted, ctx.invocation.operation, ctx.trace)
    detail = {"version": wanted.version, "by": "standard input" if link is None else "link"}
    if link is None:
        return Result(f"{wanted.name} has version {wanted.version} now.", detail=detail)
    return Result(
        f"Enter the value of {wanted.name} at {link}\n"
        "The link works once, for ten minutes; whoever has it may enter the value, and nobody can "
        "read it there. Never say the value here.",
        detail=detail,
        later=f"A link for the value of {wanted.name} was made, and is not kept. If you did not "
        "see it, or it has ended, give the command again.",
    )


@SECRETS.command(
    "delete",
    _SECRET,
    summary="Erase a secret and its bindings; its agents lose it.",
    permission="secrets.delete",
    changes=True,
    approval="secret-delete",
    target="secret",
    target_kind=_KIND,
    wish=leave,
)
async def delete_secret(ctx: Context, secret: str) -> Result:
    """Erase a secret."""
    gone = await ctx.services.secrets().vault.delete(secret)
    return Result(f"{secret} is erased.", detail={"version": gone.version})


@SECRETS.command(
    "bind",
    _SECRET,
    _AGENT,
    summary="Give an agent a secret, now and whenever it changes.",
    permission="secrets.bind",
    changes=True,
    target="secret",
    target_kind=_KIND,
    wish=leave,
)
async def bind_secret(ctx: Context, secret: str, agent: str) -> Result:
    """Bind a secret to an agent; it is delivered when that runs."""
    ctx.services.lifecycle.entry(agent)
    fresh = await ctx.services.secrets().vault.bind(secret, agent, ctx.invocation.sender)
    if not fresh:
        return Result(f"{secret} is bound to {agent} already.", detail={"agent": agent})
    return Result(
        f"{secret} is bound to {agent}, which gets it as soon as it runs.", detail={"agent": agent}
    )


@SECRETS.command(
    "unbind",
    _SECRET,
    _AGENT,
    summary="Take a secret from an agent.",
    permission="secrets.unbind",
    changes=True,
    target="secret",
    target_kind=_KIND,
    wish=leave,
)
async def unbind_secret(ctx: Context, secret: str, agent: str) -> Result:
    """Undo a binding; the agent forgets the value at the next delivery."""
    if not await ctx.services.secrets().vault.unbind(secret, agent):
        return Result(f"{secret} was not bound to {agent}.", detail={"agent": agent})
    return Result(
        f"{secret} is not bound to {agent} any more, and is taken from it now. Rotate it if the "
        "agent may have kept it.",
        detail={"agent": agent},
    )


@SECRETS.command(
    "push",
    _AGENT,
    summary="Deliver an agent its secrets now, whatever it holds.",
    permission="secrets.push",
    changes=True,
    target="agent",
    wish=leave,
)
async def push_secrets(ctx: Context, agent: str) -> Result:
    """Deliver everything that is bound to an agent."""
    ctx.services.lifecycle.entry(agent)
    report = await ctx.services.secrets().push(agent, ctx.trace)
    if report.problem:
        raise RefusalError(
            f"{agent} did not get its secrets: {report.problem}; it keeps those that it held",
            hint="`agents status` says whether it runs; this is tried again by itself",
        )
    held = ", ".join(f"{name} (version {version})" for name, version in report.held)
    return Result(
        f"{agent} holds {held}." if held else f"{agent} holds no secrets: none is bound to it.",
        detail={"held": [f"{name}/{version}" for name, version in report.held]},
    )
