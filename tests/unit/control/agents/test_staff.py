"""Agents that commands make: their names, ports, templates and end, over a real store."""

from __future__ import annotations

import pytest
from desk import ALICE, BOB, Desk
from herd import Farm
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Connection
from vaulting import Safe, wanted

from agency import naming
from agency.control.agents.drafts import Drafts
from agency.control.agents.inventory import Inventory
from agency.control.config import AgentEntry
from agency.control.grammar.kinds import variables_of
from agency.control.runtimes.beside.settings import ProgramSettings
from agency.control.store import agents, gosuto
from agency.control.store.agents import Creation, Deletion, Desired
from agency.control.store.gosuto import Version
from agency.control.vault.cipher import VaultError
from agency.control.wish import Wish
from agency.matrix import MatrixError
from agency.secrets import SecretValue

CREATE = '!agency agents create helper --template=developer --var="room=!x:y text=a b"'


@pytest.fixture
async def farm(desk: Desk) -> Farm:
    made = Farm(desk)
    await made.open()
    return made


async def test_an_agent_is_made_with_what_was_said(farm: Farm) -> None:
    assert (await farm.say(CREATE)).startswith("helper is made from the template developer")
    (made,) = await farm.desk.database.read(agents.created)
    assert made == Creation(
        "helper",
        "developer",
        "developer",
        "@agent-helper:x.org",
        naming.agent_port("helper"),
        ALICE,
        {"room": "!x:y", "text": "a b"},
    )
    assert "helper" not in farm.herd.running, "nothing runs until somebody starts it"
    await farm.look(2)
    assert farm.herd.calls == []
    assert "helper runs" in await farm.say("!agency agents start helper")
    farm.herd.kill("helper")
    await farm.look()
    assert "helper" in farm.herd.running, "it is looked after like every other"


def spare(farm: Farm, *numbers: int) -> None:
    """Declare free slots."""
    for number in numbers:
        name, port = f"slot-{number}", 20070 + number
        farm.entries.append(
            AgentEntry(name=name, role="x", matrix_id=f"@{name}:x.org", port=port, spare=True)
        )


async def at_once(farm: Farm, *commands: str) -> list[str]:
    """Say commands at one time, each by another person; return the answers."""
    desk = farm.desk
    said = [
        desk.event(f"!agency agents create {each} --template=developer", sender=by)
        for each, by in zip(commands, (ALICE, BOB), strict=True)
    ]
    await desk.take(*said)
    await desk.finish(farm.operations)
    return [str(each["body"]) for each in await desk.said()]


@pytest.mark.parametrize("slots", [1, 2])
async def test_two_that_are_made_at_once_have_a_slot_and_a_port_each(
    farm: Farm, slots: int
) -> None:
    spare(farm, *range(1, slots + 1))
    farm.runtime_kind = "systemd"
    await farm.open()
    told = await at_once(farm, "one", "two")
    made = await farm.desk.database.read(agents.created)
    assert len({each.slot for each in made}) == len({each.port for each in made}) == slots
    assert {each.slot for each in made} == {f"slot-{n}" for n in range(1, slots + 1)}
    assert sum("is made from the template" in each for each in told) == slots
    assert sum("no slot is free" in each for each in told) == 2 - slots


@pytest.mark.parametrize(("second", "made"), [("@lent:x.org", 1), ("@carol:x.org", 2)])
async def test_two_that_are_made_at_once_have_an_account_each(
    farm: Farm, second: str, made: int
) -> None:
    told = await at_once(farm, "one --mxid=@lent:x.org", f"two --mxid={second}")
    found = await farm.desk.database.read(agents.created)
    assert len({each.matrix_id for each in found}) == len(found) == made
    assert sum("is another agent's already" in each for each in told) == 2 - made


async def test_two_whose_names_have_one_port_are_made_at_once(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "agent_port", lambda _name: 20500)
    await at_once(farm, "one", "two")
    made = await farm.desk.database.read(agents.created)
    assert {each.port for each in made} == {20500, 20501}


async def test_it_is_there_after_a_restart_and_a_configured_one_of_its_name_comes_first(
    farm: Farm,
) -> None:
    await farm.say(CREATE)
    await farm.open()
    assert farm.inventory.is_created("helper")
    entry = AgentEntry(name="helper", role="pm", matrix_id="@agent-helper:x.org", port=20009)
    farm.entries.append(entry)
    farm.names = (*farm.names, "helper")
    await farm.open()
    assert not farm.inventory.is_created("helper")
    assert farm.inventory["helper"].role == "pm"
    assert await farm.desk.database.read(agents.created) == []


async def test_an_agent_begins_with_the_document_of_its_template(farm: Farm) -> None:
    """Who asks and the control room are usual values; versions of an earlier agent are kept."""
    farm.staff.draft = Drafts(farm.desk.database, lambda: "!control:x.org")
    said = await farm.say("!agency agents create helper --template=developer")
    assert said.startswith("helper is made from the template developer")

    def newest(connection: Connection) -> Version | None:
        return gosuto.newest(connection, "helper")

    first = await farm.desk.database.read(newest)
    assert first is not None
    assert (first.number, first.author, first.made_by) == (1, ALICE, "the template developer")
    assert ALICE in first.document
    assert "!control:x.org" in first.document
    await farm.desk.database.write(lambda c: agents.apply(c, Deletion("helper"), 9))
    farm.inventory.apply([Deletion("helper")])
    await farm.say('!agency agents create helper --template=developer --var="room=!other:x.org"')
    second = await farm.desk.database.read(newest)
    assert second is not None
    assert second.number == 2
    assert "!other:x.org" in second.document


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("--template=nothing", "here is no template 'nothing'"),
        ("--template=developer --var=colour=red", "developer has no variable 'colour'"),
        ("--template=developer --var=room=nowhere", "Room"),
        ("--template=pm", "needs forge"),
    ],
)
async def test_a_wrong_template_or_variable_is_refused_and_makes_nothing(
    farm: Farm, asked: str, why: str
) -> None:
    farm.staff.draft = Drafts(farm.desk.database, lambda: "!control:x.org")
    said = await farm.say(f"!agency agents create helper {asked}")
    assert why.lower() in said.lower()
    assert (await farm.desk.outcomes())[-1][2] == "refused"
    assert await farm.desk.database.read(agents.created) == []
    assert await farm.desk.database.read(lambda c: gosuto.newest(c, "helper")) is None


async def test_where_agents_are_units_the_reply_names_the_lines(farm: Farm) -> None:
    farm.staff.runtime = "systemd"
    assert "  helper:\n    role: developer" in await farm.say(CREATE)
    assert await farm.desk.database.read(agents.created) == []


async def test_where_agents_are_units_a_free_slot_is_taken(farm: Farm) -> None:
    slot = AgentEntry(name="slot-1", role="x", matrix_id="@s:x.org", port=20077, spare=True)
    farm.entries.append(slot)
    await farm.open()
    farm.staff.runtime = "systemd"
    assert "slot-1" not in await farm.say("!agency agents list")
    assert "the name of a slot" in await farm.say("!agency agents create slot-1 --template=t")
    assert (await farm.say(CREATE)).startswith("helper is made")
    (made,) = await farm.desk.database.read(agents.created)
    assert (made.slot, made.port) == ("slot-1", 20077)
    other = await farm.say("!agency agents create other --template=t")
    assert "no slot is free" in other
    await farm.open()
    assert dict(farm.inventory.slots) == {"helper": "slot-1"}, "also after a restart"


async def test_where_agents_need_no_slot_one_is_taken_for_its_program_alone(farm: Farm) -> None:
    bare = AgentEntry(name="slot-1", role="x", matrix_id="@s:x.org", port=20077, spare=True)
    program = ProgramSettings(model="small")
    works = bare.model_copy(update={"name": "slot-2", "port": 20078, "program": program})
    farm.entries += [bare, works]
    await farm.open()
    assert (await farm.say(CREATE)).startswith("helper is made")
    other = await farm.say("!agency agents create other --template=t")
    assert other.startswith("other is made")
    found = {each.name: each for each in await farm.desk.database.read(agents.created)}
    assert (found["helper"].slot, found["helper"].port) == ("slot-2", 20078)
    assert found["other"].slot == ""


async def test_a_deletion_that_the_runtime_refuses_is_tried_again(farm: Farm) -> None:
    await farm.say(CREATE)
    await farm.say("!agency agents start helper")
    wish = Wish(Desired.DELETED)
    await farm.desk.database.write(lambda c: agents.set_wish(c, "helper", wish, 5))
    assert "here is no" not in await farm.say("!agency agents show helper")
    refused = await farm.say("!agency agents start helper")
    assert "disabled" in refused or "deleted" in refused
    await farm.look()
    assert farm.herd.running == {}
    assert await farm.desk.database.read(agents.created) == []
    assert await farm.desk.database.read(lambda c: agents.record_of(c, "helper")) is None
    assert "here is no agent helper" in await farm.say("!agency agents show helper")


async def test_the_same_name_can_be_made_again(farm: Farm) -> None:
    for number in range(2):
        assert (await farm.say(CREATE)).startswith("helper is made")
        now = number + 10
        await farm.desk.database.write(lambda c, n=now: agents.apply(c, Deletion("helper"), n))
        farm.inventory.apply([Deletion("helper")])


def test_no_two_agents_have_a_port() -> None:
    inventory = Inventory([AgentEntry(name="pm", role="pm", matrix_id="@x:y", port=20000)])
    for number in range(300):
        name = f"a{number}"
        made = Creation(name, "r", "t", f"@{name}:x", inventory.free_port(name), ALICE)
        inventory.apply([made])
    assert len(set(inventory.ports.values())) == len(inventory) == 301
    assert set(inventory.ports.values()) <= {20000, *naming.AGENT_PORTS}


def test_a_change_of_a_configured_agent_changes_no_inventory() -> None:
    inventory = Inventory([AgentEntry(name="pm", role="pm", matrix_id="@x:y", port=20000)])
    told: list[int] = []
    inventory.changed = lambda: told.append(1)
    inventory.apply([Deletion("pm"), Creation("pm", "r", "t", "@z:x", 1, ALICE)])
    assert inventory["pm"].port == 20000
    assert told == []


async def test_pages_of_a_long_list(desk: Desk) -> None:
    farm = Farm(desk, tuple(f"a{n:03}" for n in range(120)))
    await farm.open()
    await farm.say("!agency agents start a001")
    first = await farm.say("!agency agents list")
    assert first.startswith("Agents 1 to 50 of 120; 1 of these run; --page=2 shows the next.")
    assert "a049" in first
    assert "a050" not in first
    last = await farm.say("!agency agents list --page=3")
    assert last.startswith("Agents 101 to 120 of 120; 0 of these run.")
    assert "there is no page 4" in (await farm.say("!agency agents list --page=4")).lower()


async def test_who_is_deleted_leaves_no_secret_to_the_next_of_its_name(farm: Farm) -> None:
    vault = Safe(farm.desk.database, farm.desk.clock).vault()
    await vault.put(wanted(), SecretValue("any"))
    farm.staff.release = vault.release
    await farm.say(CREATE)
    await farm.say("!agency agents start helper")
    await vault.bind("github", "helper", ALICE)
    done = await farm.staff.delete("helper")
    assert "Its secret is bound to it no more." in done.text
    assert (await vault.info("github")).agents == ()
    assert "remove helper" in farm.herd.calls, "nor its state"

    async def locked(_agent: str) -> int:
        raise VaultError("the seal is broken")

    farm.staff.release = locked
    with pytest.raises(VaultError):  # it is asked for again, and not deleted before
        await farm.staff.delete("helper")


NAMES = st.from_regex(r"[a-z][A-Za-z0-9]{0,9}", fullmatch=True)
WORDS = st.from_regex(r"[A-Za-z0-9!@:./-]{1,12}( [A-Za-z0-9]{1,6})?", fullmatch=True)


@given(st.dictionaries(NAMES, WORDS, min_size=1, max_size=5))
def test_variables_are_read_as_they_were_written(values: dict[str, str]) -> None:
    text = " ".join(f"{name}={value}" for name, value in values.items())
    assert dict(variables_of(text) or ()) == values


@given(st.dictionaries(NAMES, WORDS, min_size=1, max_size=5), st.sampled_from("\"'"))
def test_quotes_around_a_value_are_no_part_of_it(values: dict[str, str], quote: str) -> None:
    text = " ".join(f"{name}={quote}{value} a=b{quote}" for name, value in values.items())
    assert dict(variables_of(text) or ()) == {
        name: f"{value} a=b" for name, value in values.items()
    }


@pytest.mark.parametrize("wrong", ["no-name", "x='a' b", "A=1", "=1", "x y=1"])
async def test_what_is_no_variable_is_refused(farm: Farm, wrong: str) -> None:
    said = await farm.say(f'!agency agents create helper --template=t --var="{wrong}"')
    assert "NAME=VALUE" in said


async def test_a_homeserver_that_is_away_keeps_no_agent_running(farm: Farm) -> None:
    await farm.say("!agency agents start pm")
    farm.away = MatrixError("no answer", where="http://x")
    said = await farm.say("!agency agents disable pm")
    assert "@agent-pm:x.org could not leave its rooms: no answer." in said
    assert farm.herd.running == {}
