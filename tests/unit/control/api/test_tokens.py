"""Tokens of people: whose they are, how far they reach, how long they are good."""

from __future__ import annotations

from typing import Any

import pytest

from agency.clock import Clock
from agency.control.execution.result import RefusalError
from agency.control.kept.minting import digest_of, new_token
from agency.control.kept.tokens import MOST_EACH, TokenDesk
from agency.control.policy import People, Policy, Role
from agency.control.store import audit
from agency.store import Database

ALICE, BOB, VERA, EVE = "@alice:x.org", "@bob:x.org", "@vera:x.org", "@eve:x.org"
ROOT = "cli:root"
PEOPLE = People(
    operators=frozenset({ALICE, BOB}), viewers=frozenset({VERA}), admins=frozenset({ALICE})
)


def desk_of(database: Database, clock: Clock, people: People = PEOPLE) -> TokenDesk:
    return TokenDesk(database, clock, lambda: Policy(people))


@pytest.fixture
async def desk(database: Database, clock: Clock) -> TokenDesk:
    made = desk_of(database, clock)
    await made.load("t-start")
    return made


async def test_a_token_is_found_by_itself_alone(desk: TokenDesk) -> None:
    token = new_token()
    made = await desk.create(digest_of(token), BOB, Role.OPERATOR, 1, ROOT)
    assert desk.find(token) == made
    for other in (new_token(), "", token[:-1], token + "x", digest_of(token), made.id, token[4:]):
        assert desk.find(other) is None


async def test_its_days_are_counted_and_it_outlives_a_restart(
    desk: TokenDesk, database: Database, clock: Clock, held: Any
) -> None:
    token = new_token()
    await desk.create(digest_of(token), BOB, Role.OPERATOR, 2, ROOT)
    again = desk_of(database, clock)
    assert again.find(token) is None, "what is not loaded is not known"
    await again.load("t-again")
    held.seconds += 2 * 86_400 - 1
    assert again.find(token) is not None
    held.seconds += 1
    assert again.find(token) is None


@pytest.mark.parametrize(
    ("person", "role", "by", "why"),
    [
        (VERA, Role.OPERATOR, ROOT, "does not hold the role operator"),
        (VERA, Role.OPERATOR, VERA, "does not hold the role operator"),
        (BOB, Role.ADMIN, ROOT, "does not hold the role admin"),
        (EVE, Role.VIEWER, ROOT, "does not hold the role viewer"),
        ("cli:root", Role.VIEWER, ROOT, "does not hold the role viewer"),
        (BOB, Role.APPROVER, ALICE, "or who administers the machine"),
        (ALICE, Role.VIEWER, BOB, "or who administers the machine"),
    ],
)
async def test_nobody_gets_more_than_they_are_nor_acts_for_another(
    desk: TokenDesk, person: str, role: Role, by: str, why: str
) -> None:
    with pytest.raises(RefusalError, match=why):
        await desk.create("a" * 64, person, role, 1, by)
    assert desk.every() == ()


@pytest.mark.parametrize(
    ("person", "role", "by"),
    [
        (BOB, Role.VIEWER, BOB),
        (BOB, Role.APPROVER, BOB),
        (VERA, Role.VIEWER, ROOT),
        (ALICE, Role.ADMIN, ROOT),
    ],
)
async def test_what_a_person_holds_may_be_given(
    desk: TokenDesk, person: str, role: Role, by: str
) -> None:
    assert (await desk.create("a" * 64, person, role, 1, by)).role == role


async def test_the_same_again_changes_nothing_and_another_is_refused(desk: TokenDesk) -> None:
    first = await desk.create("a" * 64, BOB, Role.VIEWER, 1, BOB)
    assert await desk.create("a" * 64, BOB, Role.VIEWER, 9, BOB) == first
    with pytest.raises(RefusalError, match="on record for something else"):
        await desk.create("a" * 64, ALICE, Role.VIEWER, 1, ROOT)
    await desk.revoke(first.id, BOB)
    again = await desk.create("a" * 64, BOB, Role.VIEWER, 1, BOB)
    assert again.revoked_by == BOB, "one that was taken back does not come back"


@pytest.mark.parametrize(("by", "may"), [(BOB, True), (ALICE, True), (ROOT, True), (VERA, False)])
async def test_who_takes_a_token_back(desk: TokenDesk, by: str, may: bool) -> None:
    token = new_token()
    made = await desk.create(digest_of(token), BOB, Role.VIEWER, 1, BOB)
    if may:
        assert (await desk.revoke(made.id, by)).revoked_by == by
        assert desk.find(token) is None
        assert (await desk.revoke(made.id, by)).revoked_by == by, "again changes nothing"
    else:
        with pytest.raises(RefusalError, match="or an admin may take back"):
            await desk.revoke(made.id, by)
        assert desk.find(token) is not None


async def test_a_beginning_of_two_tokens_takes_back_neither(desk: TokenDesk) -> None:
    for end in "bc":
        await desk.create("a" * 63 + end, BOB, Role.VIEWER, 1, BOB)
    for beginning, why in (("a" * 12, "several tokens begin"), ("b" * 12, "no token begins")):
        with pytest.raises(RefusalError, match=why):
            await desk.revoke(beginning, ROOT)
    assert all(each.revoked_ts is None for each in desk.every())


async def test_tokens_of_a_person_are_bounded(desk: TokenDesk) -> None:
    for number in range(MOST_EACH):
        await desk.create(f"{number:064x}", BOB, Role.VIEWER, 1, BOB)
    with pytest.raises(RefusalError, match="too many tokens"):
        await desk.create("f" * 64, BOB, Role.VIEWER, 1, BOB)
    assert await desk.create("e" * 64, VERA, Role.VIEWER, 1, VERA), "others are not kept out"


async def test_who_lost_the_role_lost_the_token_on_record(
    desk: TokenDesk, database: Database, clock: Clock
) -> None:
    bob, alice = new_token(), new_token()
    await desk.create(digest_of(bob), BOB, Role.OPERATOR, 9, ROOT)
    await desk.create(digest_of(alice), ALICE, Role.OPERATOR, 9, ROOT)
    fewer = People(operators=frozenset({ALICE}), viewers=frozenset({BOB}))
    later = desk_of(database, clock, fewer)
    await later.load("t-later")
    assert later.find(bob) is None
    assert later.find(alice) is not None
    rows = await database.read(lambda c: audit.tail(c, 10))
    assert [(row.action, row.actor) for row in rows[1:]] == [("tokens revoke", "system")]
    back = desk_of(database, clock)
    await back.load("t-back")
    assert back.find(bob) is None
    assert len(await database.read(lambda c: audit.tail(c, 10))) == len(rows), "once on record"
