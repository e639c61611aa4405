"""Messages about what an agent asks: the prompt, its edit at the end, the answer in its thread.

    prompt ──▶ what would be called, who may decide, until when, how; the arguments below, whole
    end    ──▶ the prompt is edited: who decided what, or why nobody needs to any more
           └─▶ the same in its thread, for who waits there

Pure. Whatever an agent says stands below, in one line of ASCII, and cannot look like our words.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agency.clock import iso
from agency.control.ask import Ask, State, Verdict
from agency.control.execution.cards import as_edit
from agency.control.execution.replies import notice_message, printable
from agency.control.operations.approving.prompts import NO, YES
from agency.control.store.outbox import Message, transaction_id
from agency.protocols import NOTICE_KEY

_MOST_AGAIN = 2000  # characters of the arguments in an edit; the first version has them whole
_MOST_NAMED = 10


def prompt_id(ask: Ask) -> str:
    """Return the transaction id of the last prompt of an ask."""
    return transaction_id(f"{ask.id}/prompt", ask.prompts)


def headline(ask: Ask) -> str:
    """Say what an agent asks."""
    rule = f", by the rule {ask.rule} of its Gosuto" if ask.rule else ""
    if ask.kind == "tools":
        server = ask.tool.removesuffix("/*")
        return (
            f"The server {server} of {ask.agent} offers other tools than were accepted, and is cut "
            "off. An approval lets it back with what it offers now."
        )
    return f"{ask.agent} asks to call {ask.tool}{rule}. An approval is for this one call."


def prompt_text(ask: Ask, deciders: Sequence[str], where: str) -> str:
    """Write the prompt; `where` is where a typed decision counts."""
    until = iso(ask.expires_ts / 1000)
    what = "What changed:" if ask.kind == "tools" else "Its arguments:"
    named = ", ".join(deciders[:_MOST_NAMED])
    if len(deciders) > _MOST_NAMED:
        named += f" and {len(deciders) - _MOST_NAMED} more"
    how = (
        f'{named} may decide, until {until}: say in {where} "approve {ask.short}" or "deny '
        f'{ask.short} and the reason", or react here with {YES} or {NO} to this message.'
    )
    if not deciders:
        how = (
            f"Nobody may decide: approvals.approvers in the Gosuto of {ask.agent} names no "
            f"approver of this agency. It ends {until}, refused."
        )
    return f"Approval {ask.id}\n{headline(ask)}\n{how}\nDigest {ask.digest}. {what}"


def prompt_message(ask: Ask, text: str, *, as_user: str) -> Message:
    """Make the prompt; it notifies people."""
    about = {"approval": ask.id, "prompt": ask.prompts}
    made = notice_message(
        text, ask.room_id, as_user=as_user, trace=ask.trace, rings=True, about=about,
        block=ask.shown or "(nothing)",
    )  # fmt: skip
    return replace(made, txn_id=prompt_id(ask))


def end_text(ask: Ask, why: str = "") -> str:
    """Say how an ask ended, or that it waits again; `why` is what is known beside its state."""
    about = f"{ask.agent}: {ask.tool}"
    reason = f" ({ask.reason})" if ask.reason else ""
    late = "Nobody decided in time, so it is refused"
    if ask.decision:
        done = "approved" if ask.verdict is Verdict.APPROVE else "denied"
        late = f"{ask.decided_by} {done} this, and {ask.agent} did not say in time that it took it"
    first = {
        State.APPROVED: f"Approved by {ask.decided_by}{reason}: {about}, once.",
        State.DENIED: f"Denied by {ask.decided_by}{reason}: {about}.",
        State.EXPIRED: f"{late}: {about}.",
        State.GONE: f"This needs no decision any more: {about}.",
        State.WAITING: f"This waits for a decision still: {about}.",
        State.DECIDED: f"{ask.decided_by} decided, and {ask.agent} is told: {about}.",
    }[ask.state]
    return f"{first} {why}" if why else first


def end_edit(ask: Ask, text: str, *, as_user: str) -> Message:
    """Make the edit of a prompt that says how it ended."""
    shown = ask.shown
    if len(shown) > _MOST_AGAIN:
        shown = f"{shown[:_MOST_AGAIN]}... (whole in the first version of this message)"
    new = notice_message(
        f"{text}\nApproval {ask.id}, digest {ask.digest}.",
        ask.room_id,
        as_user=as_user,
        trace=ask.trace,
        about={"approval": ask.id, "prompt": ask.prompts, "state": ask.state.value},
        block=shown,
    )
    txn_id = transaction_id(f"{ask.id}/end", ask.prompts)
    return replace(new, txn_id=txn_id, content=as_edit(new.content, prompt_id(ask)))


def thread_message(ask: Ask, text: str, prompt_event: str, *, as_user: str) -> Message:
    """Make the answer in the thread of a prompt."""
    shown = printable(text)
    content: dict[str, Any] = {
        "msgtype": "m.notice",
        "body": shown,
        "format": "org.matrix.custom.html",
        "formatted_body": html.escape(shown),
        "m.mentions": {},
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": prompt_event,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": prompt_event},
        },
        NOTICE_KEY: {
            "approval": ask.id,
            "told": [ask.prompts, ask.state.value, ask.decided_ts],
            "trace": ask.trace,
        },
    }
    txn_id = transaction_id(f"{ask.id}/told/{ask.state}/{ask.decided_ts}", ask.prompts)
    return Message(txn_id, ask.room_id, as_user, content, ask.trace)
