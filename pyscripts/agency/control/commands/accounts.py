"""Commands `agents matrix-register` and `matrix-login`: agents' accounts on the homeserver."""

from __future__ import annotations

import re

from agency.control.commands.agents import AGENT, AGENTS
from agency.control.commands.context import Context
from agency.control.execution.result import RefusalError, Result
from agency.control.grammar.kinds import Text
from agency.control.grammar.spec import flag
from agency.control.wish import leave
from agency.errors import AgencyError

__all__ = ["AGENTS"]  # the noun with all of its commands

_MEDIA = re.compile(r"mxc://[A-Za-z0-9.:-]{1,255}/[A-Za-z0-9_-]{1,255}\Z")
TOKEN_TYPE = "matrix-token"  # noqa: S105 - the name of a type of secret


@AGENTS.command(
    "matrix-register",
    AGENT,
    flag("title", Text(most=100), "how clients name it; its name if left out", metavar="T"),
    flag("avatar", Text(most=520), "its picture, as mxc://SERVER/ID", metavar="MXC"),
    summary="Make an agent's account on the homeserver, and bring it into the control room.",
    permission="agents.matrix-register",
    changes=True,
    target="agent",
    wish=leave,
)
async def register_agent(
    ctx: Context, agent: str, title: str | None = None, avatar: str | None = None
) -> Result:
    """Make an agent's account where it is missing, name it, and have it join."""
    if avatar is not None and not _MEDIA.match(avatar):
        raise RefusalError(
            f"{avatar} is no picture on a homeserver",
            hint="upload it with a client, and name it as mxc://SERVER/ID",
        )
    staff = ctx.services.employer()
    return await staff.register(agent, title or "", avatar or "", ctx.step)


@AGENTS.command(
    "matrix-login",
    AGENT,
    summary="Log an agent's account in; the token becomes its secret, the one before ends.",
    permission="agents.matrix-login",
    changes=True,
    target="agent",
    wish=leave,
)
async def log_agent_in(ctx: Context, agent: str) -> Result:
    """Keep a token of an agent's account in the vault, bound to the agent; nobody is shown it."""
    from agency.control.vault.values import SecretType, checked
    from agency.control.vault.vault import Wanted

    vault, staff = ctx.services.secrets().vault, ctx.services.employer()
    name, by = f"{agent}-{TOKEN_TYPE}", ctx.invocation.sender
    version = await vault.next_version(name)
    before = (await vault.info(name)).secret if version > 1 else None
    if before is not None and (before.critical or before.type != TOKEN_TYPE):
        raise RefusalError(
            f"there is a secret {name} that is not such a token",
            hint=f"delete it first: !agency secrets delete {name}",
        )
    await ctx.step("logging its account in")
    token = await staff.log_in(agent)
    try:
        value = checked(SecretType.MATRIX_TOKEN, token.reveal())
        await vault.put(Wanted(name, TOKEN_TYPE, version, critical=False, author=by), value)
        await vault.bind(name, agent, by)
    except AgencyError:
        await staff.log_out(agent)  # a token that nobody keeps
        raise
    return Result(
        f"{agent} is logged in. Its token is the secret {name}, version {version}, which it gets "
        "by itself; the one before opens nothing any more.",
        detail={"secret": name, "version": version},
    )
