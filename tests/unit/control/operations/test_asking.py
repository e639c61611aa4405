"""Prompts: where they stand, what they say, and which reactions to them are decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agency.control.execution.replies import Reply
from agency.control.operation import Operation, Origin, OriginKind
from agency.control.operations.approving.asking import prompts
from agency.control.operations.approving.prompts import (
    Effect,
    command_of,
    is_decisive,
    prompt,
    prompt_ids,
)
from agency.control.wish import Desired, Wish

CONTROL, APPROVALS = "!control:x", "!approvals:x"
ORIGIN = Origin(OriginKind.MATRIX, "$asked", 1_800_000_000_000, CONTROL, "$thread")
OPERATION = Operation(
    origin=ORIGIN,
    actor="@alice:x",
    action="agents stop",
    said="!agency agents stop pm",
    target="pm",
    trace="t1",
    created_ts=1_800_000_000_000,
    deadline_ts=1_800_003_600_000,
    rule="stops",
    replies=1,
)
NOTICE = Reply(True, "it needs an approval", final=False)
RUNS, STOPPED = Wish(Desired.RUNNING, "site"), Wish(Desired.STOPPED)


def places(operation: Operation, approvals_room: str, room_id: str = CONTROL) -> list[Any]:
    made = prompts(
        operation,
        NOTICE,
        as_user="@agency:x",
        room_id=room_id,
        approvals_room=approvals_room,
    )
    return [(each.room_id, each.content["msgtype"], each.txn_id) for each in made]


def test_in_the_thread_alone_without_an_approvals_room() -> None:
    here, _ = prompt_ids(OPERATION)
    assert places(OPERATION, "") == [(CONTROL, "m.notice", here)]


def test_in_the_thread_and_in_the_approvals_room() -> None:
    here, there = prompt_ids(OPERATION)
    assert here != there
    assert places(OPERATION, APPROVALS) == [
        (CONTROL, "m.notice", here),
        (APPROVALS, "m.text", there),  # it rings
    ]


@pytest.mark.parametrize("kind", [OriginKind.CLI, OriginKind.HTTP])
def test_past_the_room_in_one_room_alone(kind: OriginKind) -> None:
    operation = replace(OPERATION, origin=Origin(kind, "r1", ORIGIN.ts))
    here, there = prompt_ids(operation)
    assert places(operation, APPROVALS) == [(APPROVALS, "m.text", there)]
    assert places(operation, "") == [(CONTROL, "m.text", here)]
    assert places(operation, "", room_id="") == []


def test_every_prompt_has_an_id_of_its_own() -> None:
    again = replace(OPERATION, replies=2)
    other = replace(OPERATION, origin=replace(ORIGIN, id="$other"))
    ids = [*prompt_ids(OPERATION), *prompt_ids(again), *prompt_ids(other)]
    assert len(set(ids)) == 6
    assert prompt_ids(OPERATION) == prompt_ids(replace(OPERATION, said="x"))


@pytest.mark.parametrize(
    ("effect", "target", "said"),
    [
        (Effect(RUNS, STOPPED), "", ""),
        (Effect(RUNS, None), "pm", ""),
        (Effect(None, STOPPED), "pm", f"pm was never commanded; after it pm is {STOPPED}."),
        (Effect(STOPPED, STOPPED), "pm", f"pm is {STOPPED} already, and stays so."),
        (Effect(RUNS, STOPPED), "pm", f"pm is {RUNS} now; after it pm is {STOPPED}."),
    ],
)
def test_the_effect_is_said(effect: Effect, target: str, said: str) -> None:
    assert effect.sentence(target) == said


def test_the_whole_prompt() -> None:
    made = prompt(OPERATION, 2, Effect(RUNS, STOPPED), where="this room")
    assert (made.ok, made.final) == (True, False)
    first, asked, effect, how = made.text.split("\n")
    assert first == f"Operation {OPERATION.id} needs an approval, by the rule stops."
    assert asked == "@alice:x asks: !agency agents stop pm"
    assert effect == f"pm is {RUNS} now; after it pm is {STOPPED}."
    short = OPERATION.short
    assert how == (
        "It takes 2 people who did not ask for it, until 2027-01-15T09:00:00.000Z: say in this "
        f'room "approve {short}" or "deny {short} and the reason", or react there with ✅ or ❌ '
        "to this message."
    )
    alone = prompt(OPERATION, 1, Effect(None, None), alone=True).text.split("\n")
    (last,) = alone[2:]
    assert last == (
        "Nobody else can approve it here. When the delay is over, say !agency approvals approve "
        f"{short} --confirm='pm', until 2027-01-15T09:00:00.000Z."
    )


@pytest.mark.parametrize("key", ["✅", "👍", "✔", "✔\ufe0f", "👍\ufe0f"])
def test_a_reaction_that_approves(key: str) -> None:
    assert is_decisive(key)
    assert command_of(key, OPERATION) == f"!agency approvals approve {OPERATION.id}"


@pytest.mark.parametrize("key", ["❌", "👎", "✖", "✖\ufe0f"])
def test_a_reaction_that_denies(key: str) -> None:
    assert is_decisive(key)
    plain = key.removesuffix("\ufe0f")
    assert command_of(key, OPERATION) == (
        f'!agency approvals deny {OPERATION.id} "reacted with {plain}"'
    )


@pytest.mark.parametrize("key", ["🎉", "", "✅✅", "\ufe0f", "\ufe0f✅", "yes", "👍🏽"])
def test_any_other_reaction_decides_nothing(key: str) -> None:
    assert not is_decisive(key)
