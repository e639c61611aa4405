"""First versions of documents: what a template gets by itself, and what is refused."""

from __future__ import annotations

import json
from functools import partial

import pytest

from agency.control.agents.drafts import Drafts
from agency.control.execution.result import RefusalError
from agency.control.gosuto.desk import AddVersion
from agency.store import Database

ALICE, ROOM = "@alice:x.org", "!control:x.org"


async def drafted(
    drafts: Drafts, template: str = "developer", by: str = ALICE, **values: str
) -> AddVersion:
    made = await drafts(template, "helper", values, by, "t-7")
    assert isinstance(made, AddVersion)
    return made


async def test_who_asks_and_the_control_room_are_usual_values(database: Database) -> None:
    drafts = Drafts(database, lambda: ROOM)
    version = (await drafted(drafts)).version
    trust = json.loads(version.document)["trust"]
    assert (trust["senders"], trust["rooms"]) == ([ALICE], [ROOM])
    assert (version.agent, version.number, version.trace) == ("helper", 1, "t-7")
    assert (version.author, version.made_by) == (ALICE, "the template developer")
    said = (await drafted(drafts, room="!other:x.org", operator="@bob:x.org")).version
    trust = json.loads(said.document)["trust"]
    assert (trust["senders"], trust["rooms"]) == (["@bob:x.org"], ["!other:x.org"])


async def test_who_is_no_matrix_user_names_the_operator(database: Database) -> None:
    drafts = Drafts(database, lambda: ROOM)
    with pytest.raises(RefusalError, match="developer needs operator"):
        await drafted(drafts, by="system")
    version = (await drafted(drafts, by="system", operator=ALICE)).version
    assert version.author == "system"


async def test_before_there_is_a_control_room_the_room_is_named(database: Database) -> None:
    drafts = Drafts(database, lambda: None)
    with pytest.raises(RefusalError, match="developer needs room"):
        await drafted(drafts)
    assert ROOM in (await drafted(drafts, room=ROOM)).version.document


async def test_a_refusal_says_what_the_template_has(database: Database) -> None:
    with pytest.raises(RefusalError, match="developer has no variable 'colour'") as caught:
        await drafted(Drafts(database, lambda: ROOM), colour="red")
    assert "developer has: room, operator, repository" in (caught.value.hint or "")


async def test_a_document_that_would_be_wrong_is_refused_field_by_field(
    database: Database,
) -> None:
    drafts = Drafts(database, lambda: ROOM)
    with pytest.raises(RefusalError) as caught:
        await drafts("developer", "No Name", {}, ALICE, "t-7")
    head, *problems = caught.value.message.splitlines()
    assert head == "this would be no valid Gosuto:"
    assert problems
    assert problems[0].startswith("metadata.name: ")


async def test_a_version_follows_those_that_there_are(database: Database) -> None:
    drafts = Drafts(database, lambda: ROOM)
    for number in (1, 2, 3):
        made = await drafted(drafts)
        assert made.version.number == number
        await database.write(partial(made.apply, now_ts=5))
