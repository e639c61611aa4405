"""Comparison of what an agent asks with what is on record. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from agency.control.ask import MOST_PROMPTS, Ask, State, ask_id
from agency.protocols import PendingApproval, milliseconds

MOST_AN_HOUR = 30  # prompts for one agent
MOST_OPEN = 500  # asks of all agents
LONGEST_MS = 7 * 24 * 3600 * 1000  # the longest time that a Gosuto can give


@dataclass(frozen=True, slots=True)
class Plan:
    """Conclusion from one look at an agent.

    `new` are asked first now; `again` were gone and are back, each with what is asked; `gone` are
    not asked any more; `left` is the number of questions for which there is no room now.
    """

    new: tuple[PendingApproval, ...] = ()
    again: tuple[tuple[Ask, PendingApproval], ...] = ()
    gone: tuple[Ask, ...] = ()
    left: int = 0


def plan(
    agent: str,
    pending: Sequence[PendingApproval],
    on_record: Mapping[str, Ask],
    now_ms: int,
    room_for: int,
) -> Plan:
    """Plan for one agent; `on_record` are its open asks, and those that it asks now."""
    listed = {ask_id(agent, each.id, each.digest): each for each in pending}
    new: list[PendingApproval] = []
    again: list[tuple[Ask, PendingApproval]] = []
    for key, each in listed.items():
        known = on_record.get(key)
        if expires_ts(each, now_ms) <= now_ms:
            continue
        if known is None:
            new.append(each)
        elif known.state is State.GONE and known.prompts < MOST_PROMPTS:
            again.append((known, each))
    left = max(0, len(new) + len(again) - room_for)
    again = again[: max(0, room_for)]
    new = new[: max(0, room_for - len(again))]
    return Plan(tuple(new), tuple(again), tuple(gone(on_record.values(), listed)), left)


def gone(on_record: Collection[Ask], listed: Collection[str]) -> list[Ask]:
    """Return what waits for a person, and is not asked any more.

    Of what is decided the agent says itself what became of it.
    """
    return [each for each in on_record if each.state is State.WAITING and each.id not in listed]


def expires_ts(pending: PendingApproval, now_ms: int) -> int:
    """Return the end of an ask: what the agent says, and at most the longest time from now."""
    return min(milliseconds(pending.expires_at), now_ms + LONGEST_MS)
