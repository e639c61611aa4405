"""Commands `tokens create`, `list` and `revoke`: who may use the HTTP interface in whose name.

Neither is a change by the policy's word, as approvals are none: viewers have tokens too, nothing
waits behind them, and the same again after a crash does nothing. They act all the same, so a token
of a viewer reaches neither. Safe mode makes no tokens, and takes them back.
"""

from __future__ import annotations

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.keys import TokenDigest, TokenId
from agency.control.grammar.kinds import Count, OneOf, UserId
from agency.control.grammar.spec import argument, flag
from agency.control.policy import LOCAL, Role

TOKENS = Noun("tokens")

_MOST_DAYS = 365


@TOKENS.command("list", summary="Show the tokens of the HTTP interface.", permission="tokens.list")
async def list_tokens(ctx: Context) -> Result:
    """Show each token on one line; nobody can see the token itself."""
    now = ctx.services.clock.now_ms()
    rows = []
    for each in ctx.services.tokens().every():
        state = "live" if each.is_live(now) else "expired"
        if each.revoked_ts is not None:
            state = f"taken back by {each.revoked_by}"
        rows.append((each.id, each.person, each.role, iso(each.expires_ts / 1000), state))
    if not rows:
        return Result("There are no tokens.")
    live = sum(row[-1] == "live" for row in rows)
    return Result(
        f"{live} of {len(rows)} tokens are live.",
        table(("TOKEN", "PERSON", "ROLE", "UNTIL", "STATE"), rows),
    )


@TOKENS.command(
    "create",
    argument("digest", TokenDigest(), "what `agency tokens create` says, never the token itself"),
    flag("role", OneOf(tuple(map(str, Role))), "the most that it gives", default=str(Role.VIEWER)),
    flag("days", Count(_MOST_DAYS), "how long it is good", default=30, metavar="NUMBER"),
    flag(
        "person",
        UserId(),
        "whose it is; default: who says this. Only who administers the machine may name another",
        metavar="MATRIX-ID",
    ),
    summary="Put a token of the HTTP interface on record.",
    permission="tokens.create",
    acts=True,
)
async def create_token(
    ctx: Context, digest: str, role: str, days: int, person: str | None = None
) -> Result:
    """Put the digest of a token on record, for a person and with a role that they hold."""
    by = ctx.invocation.sender
    if ctx.invocation.by == "http":
        raise RefusalError(
            "a token makes no further tokens",
            hint="say it in the control room, or at the machine",
        )
    if ctx.services.safety().present() is not None:
        raise RefusalError("in safe mode nobody gets a token")
    if person is None and by.startswith(LOCAL):
        raise RefusalError("a token is a person's", hint="name them with --person")
    made = await ctx.services.tokens().create(
        digest.removeprefix("sha256:"), person or by, Role(role), days, by
    )
    return Result(
        f"The token {made.id} is good for {made.person} as {made.role}, "
        f"until {iso(made.expires_ts / 1000)}.",
        detail={"token": made.id, "person": made.person, "role": made.role},
    )


@TOKENS.command(
    "revoke",
    argument("token", TokenId(), "a token's id, as `tokens list` shows it"),
    summary="Take back a token of yours; an admin takes back anybody's.",
    permission="tokens.revoke",
    acts=True,
)
async def revoke_token(ctx: Context, token: str) -> Result:
    """Take a token back for ever."""
    by, role = ctx.invocation.sender, ctx.invocation.role
    gone = await ctx.services.tokens().revoke(token, by, role)
    return Result(
        f"The token {gone.id} of {gone.person} opens nothing any more.",
        detail={"token": gone.id, "person": gone.person},
    )
