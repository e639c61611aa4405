"""Transactions over a real socket: what is taken, refused, or to be delivered again."""

from __future__ import annotations

import pytest
from served_plane import Plane, Put, message

from agency.control.alerts.delivery import MAX_BODY
from agency.control.appservice.refusals import Refused
from agency.control.appservice.transactions import (
    InboxFullError,
    TransactionError,
    read_events,
)


async def test_a_transaction_is_taken_and_waited_for_once(put: Put, plane: Plane) -> None:
    assert await put({"events": [message(1)]}) == (200, {})
    assert plane.answers == 1
    assert plane.intake.wake.is_set()
    assert await put({"events": [message(1)]}) == (200, {})
    assert await put({"events": []}) == (200, {})
    assert await put({"events": [message(2, "hello")]}, "2") == (200, {})
    assert plane.answers == 1, "nothing is fresh"
    assert plane.intake.counts.as_dict() == {
        "stored": 1,
        "known": 1,
        "irrelevant": 1,
        "dropped": 0,
    }


@pytest.mark.parametrize(
    ("body", "errcode", "error"),
    [
        (b"", "M_NOT_JSON", "the body is not JSON"),
        (b"{", "M_NOT_JSON", "the body is not JSON"),
        (b'{"events": [NaN]}', "M_NOT_JSON", "the body is not JSON"),
        (b"[" * 4000, "M_NOT_JSON", "the body is not JSON"),
        (b"[]", "M_BAD_JSON", "the body has no list `events`"),
        (b"{}", "M_BAD_JSON", "the body has no list `events`"),
        (b'{"events": {}}', "M_BAD_JSON", "the body has no list `events`"),
    ],
)
async def test_a_malformed_transaction_says_what_is_wrong(
    put: Put, plane: Plane, body: bytes, errcode: str, error: str
) -> None:
    assert await put(body) == (400, {"errcode": errcode, "error": error})
    with pytest.raises(TransactionError) as caught:
        read_events(body)
    assert (caught.value.errcode, str(caught.value)) == (errcode, error)
    (condition,) = plane.conditions.present()
    assert condition.blocks
    assert condition.text == (
        "the homeserver's last transaction was refused: HTTP 400, malformed; it sends nothing "
        "else until that is taken"
    )
    assert condition.hint == "look for what stands between the homeserver and the control plane"
    assert await put({"events": []}) == (200, {})
    assert plane.conditions.present() == ()


async def test_a_transaction_id_is_printable_and_short(put: Put) -> None:
    refused = (400, {"errcode": "M_INVALID_PARAM", "error": "a malformed transaction id"})
    assert await put({"events": []}, "x" * 255) == (200, {})
    assert await put({"events": []}, "x" * 256) == refused
    assert await put({"events": []}, "%07") == refused


async def test_a_body_has_a_limit(put: Put, plane: Plane) -> None:
    answer = await put(b"x" * (2 * MAX_BODY + 1))
    assert answer == (413, {"errcode": "M_TOO_LARGE", "error": "the body is too large"})
    (condition,) = plane.conditions.present()
    assert "HTTP 413, too-large" in condition.text
    assert condition.hint == "raise limits.max_transaction_bytes of the control plane"


async def test_an_empty_inbox_takes_a_transaction_of_any_number(put: Put, plane: Plane) -> None:
    """Or the homeserver would send it for ever, and nothing after it."""
    assert await put({"events": [message(1), message(2), message(3)]}) == (200, {})
    assert plane.intake.counts.stored == 3


async def test_a_full_inbox_asks_to_deliver_again(put: Put, plane: Plane) -> None:
    assert await put({"events": [message(1), message(2)]}) == (200, {})
    full = {"errcode": "M_LIMIT_EXCEEDED", "error": "too much is waiting; deliver again later"}
    assert await put({"events": [message(3)]}, "3") == (503, full)
    with pytest.raises(InboxFullError):
        await plane.intake.take("4", [message(4)])
    assert plane.refusals.counts == {Refused.BUSY: 1}


async def test_who_is_ending_takes_nothing_and_notes_nothing(put: Put, plane: Plane) -> None:
    plane.stopping = True
    answer = await put({"events": [message(1)]})
    assert answer == (503, {"errcode": "M_UNKNOWN", "error": "the control plane is ending"})
    assert plane.conditions.present() == ()
    assert plane.intake.counts.stored == 0
