"""Agents that begin and end: what is said of their slot, port, account, rooms and secrets."""

from __future__ import annotations

from typing import Any

import pytest
from desk import ALICE, ROOM, Desk
from herd import Farm

from agency import naming
from agency.control.config import AgentEntry
from agency.control.execution.result import RefusalError, Result
from agency.control.store import agents
from agency.control.store.agents import Desired
from agency.control.store.audit import Outcome
from agency.control.wish import Wish

OURS, LENT = "@agent-pm:x.org", "@lent:x.org"


class Noted:
    """Accounts that are only noted down."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.rooms, self.why = 1, ""

    def is_ours(self, user: str) -> bool:
        return user.startswith("@agent-")

    async def exists(self, user: str) -> bool:
        return user == LENT

    async def register(self, user: str) -> None:
        self.calls.append(("register", user))

    async def show(self, user: str, display_name: str, avatar: str = "") -> None:
        self.calls.append(("show", user, display_name, avatar))

    async def admit(self, room: str, user: str) -> str:
        self.calls.append(("admit", room, user))
        return self.why

    async def log_in(self, user: str) -> str:
        self.calls.append(("log in", user))
        return "syt_1"

    async def log_out(self, user: str) -> None:
        self.calls.append(("log out", user))

    async def dismiss(self, user: str, room: str | None) -> int:
        self.calls.append(("dismiss", user, str(room)))
        return self.rooms


class Begun(Farm):
    """A farm that notes down its accounts, steps and wakes."""

    accounts: Any

    async def begin(self) -> Begun:
        await self.open()
        self.accounts = self.staff.accounts = Noted()
        self.steps, self.wakes = list[str](), list[int]()
        self.staff.wake = lambda: self.wakes.append(1)
        return self

    async def step(self, text: str) -> None:
        self.steps.append(text)

    async def create(self, name: str = "helper", **changes: Any) -> Result:
        return await self.staff.create(
            name, "developer", {"room": ROOM}, ALICE, "t-1", step=self.step, **changes
        )

    async def wish(self, name: str, desired: Desired) -> None:
        await self.desk.database.write(lambda c: agents.set_wish(c, name, Wish(desired), 5))


@pytest.fixture
async def farm(desk: Desk) -> Begun:
    return await Begun(desk).begin()


async def test_who_is_made_is_described(farm: Begun) -> None:
    made = await farm.create()
    port = naming.agent_port("helper")
    assert made.text == (
        "helper is made from the template developer, and does not run yet. !agency agents start "
        "helper starts it."
    )
    assert made.detail == {
        "template": "developer",
        "matrix_id": "@agent-helper:x.org",
        "port": port,
        "slot": None,
    }
    assert made.stored == (), "there are no documents here"
    assert farm.steps == ["writing its first document", "choosing its port"]


async def test_who_is_made_with_an_account_is_described(farm: Begun) -> None:
    made = await farm.create(mxid=LENT)
    assert made.detail["matrix_id"] == LENT
    assert farm.steps[1] == f"looking for the account {LENT}"


async def test_the_document_is_drafted_for_who_asks(farm: Begun) -> None:
    asked: list[tuple[Any, ...]] = []

    version: Any = object()

    async def draft(*values: Any) -> Any:
        asked.append(values)
        return version

    farm.staff.draft = draft
    assert (await farm.create()).stored == (version,)
    assert asked == [("developer", "helper", {"room": ROOM}, ALICE, "t-1")]


async def test_a_name_that_is_taken_is_refused_and_how_to_see_it(farm: Begun) -> None:
    with pytest.raises(RefusalError, match="there is an agent pm already") as caught:
        await farm.create("pm")
    assert caught.value.hint == "see it: !agency agents show pm"
    assert farm.steps == []


async def test_slots_are_what_agents_are_where_nixos_declares_them(farm: Begun) -> None:
    farm.staff.runtime = "systemd"
    with pytest.raises(RefusalError, match="no slot is free") as caught:
        await farm.create()
    assert caught.value.message == (
        "the agents here are users and units that NixOS declares, and no slot is free"
    )
    assert caught.value.hint == (
        "add to `agents` in instance.yaml, render, and switch:\n  helper:\n    role: developer"
    )
    farm.entries.append(
        AgentEntry(name="slot-1", role="x", matrix_id="@s:x.org", port=20077, spare=True)
    )
    await farm.begin()
    farm.staff.runtime = "systemd"
    with pytest.raises(RefusalError, match=r"^slot-1 is the name of a slot") as caught:
        await farm.create("slot-1")
    assert caught.value.hint == "give the agent another name"
    assert (await farm.create()).detail == {
        "template": "developer",
        "matrix_id": "@agent-helper:x.org",
        "port": 20077,
        "slot": "slot-1",
    }


@pytest.mark.parametrize(
    ("mxid", "why", "hint"),
    [
        ("@lent:else.org", "is an account of another homeserver", "name one of x.org"),
        (
            "@agent-x:x.org",
            "is of the agents' own",
            "leave --mxid out: the agent gets @agent-helper:x.org",
        ),
        (ALICE, "is a person's, or another user's of this agency", "agents never command"),
        (
            "@nobody:x.org",
            "does not exist",
            "leave --mxid out: the agent gets @agent-helper:x.org",
        ),
    ],
)
async def test_an_account_that_cannot_be_lent_is_refused_and_what_can_be_done(
    farm: Begun, mxid: str, why: str, hint: str
) -> None:
    with pytest.raises(RefusalError) as caught:
        await farm.create(mxid=mxid)
    assert (caught.value.message, caught.value.hint) == (f"{mxid} {why}", hint)


async def test_an_account_has_one_agent(farm: Begun) -> None:
    farm.inventory.apply((await farm.create(mxid=LENT)).changes)
    with pytest.raises(RefusalError) as caught:
        await farm.create("second", mxid=LENT)
    assert caught.value.message == f"{LENT} is another agent's already"
    assert caught.value.hint == "give the agent another account"


async def test_an_account_of_ours_is_made_named_and_brought_in(farm: Begun) -> None:
    done = await farm.staff.register("pm", "", "", farm.step)
    assert farm.accounts.calls == [
        ("register", OURS),
        ("show", OURS, "pm", ""),
        ("admit", ROOM, OURS),
    ]
    assert farm.steps == [
        "making its account",
        "giving it its name",
        "bringing it into the control room",
    ]
    assert done.text == f"{OURS} is pm's account, and is in the control room."
    assert (done.outcome, done.detail) == (Outcome.DONE, {"matrix_id": OURS})
    await farm.staff.register("pm", "P. M.", "mxc://x/a")
    assert farm.accounts.calls[4] == ("show", OURS, "P. M.", "mxc://x/a")


async def test_an_account_that_is_lent_is_invited_and_named_by_its_owner(farm: Begun) -> None:
    farm.inventory.apply((await farm.create(mxid=LENT)).changes)
    done = await farm.staff.register("helper", "", "")
    assert farm.accounts.calls == [("admit", ROOM, LENT)]
    assert done.text == f"{LENT} is helper's account, and is invited to the control room."
    for name, picture in (("Helper", ""), ("", "mxc://x/a")):
        with pytest.raises(RefusalError) as caught:
            await farm.staff.register("helper", name, picture)
        assert caught.value.message == f"{LENT} is not of the agents' own accounts"
        assert caught.value.hint == "whoever logs in there gives it its name and picture"
    assert len(farm.accounts.calls) == 1, "nobody is brought in by what is refused"


async def test_who_cannot_be_brought_in_is_a_failure_that_says_why(farm: Begun) -> None:
    farm.accounts.why = f"{OURS} is banned from the control room"
    done = await farm.staff.register("pm", "", "")
    assert (done.text, done.outcome) == (farm.accounts.why, Outcome.FAILED)
    assert done.detail == {"matrix_id": OURS}


async def test_without_a_control_room_no_account_is_made(farm: Begun) -> None:
    farm.staff.room_id = lambda: None
    with pytest.raises(RefusalError, match=r"^there is no control room yet$"):
        await farm.staff.register("pm", "", "")
    assert farm.accounts.calls == []


@pytest.mark.parametrize(
    ("desired", "is_so"),
    [(Desired.DISABLED, "is to stay disabled"), (Desired.DELETED, "is to be deleted")],
)
async def test_an_agent_that_is_disabled_gets_no_account_and_no_token(
    farm: Begun, desired: Desired, is_so: str
) -> None:
    await farm.wish("pm", desired)
    for call in (farm.staff.register("pm", "", ""), farm.staff.log_in("pm")):
        with pytest.raises(RefusalError) as caught:
            await call
        assert caught.value.message == f"pm {is_so}"
        assert caught.value.hint == "enable it first: !agency agents enable pm"
    assert farm.accounts.calls == []


async def test_an_agent_that_is_stopped_has_an_account_all_the_same(farm: Begun) -> None:
    await farm.wish("pm", Desired.STOPPED)
    assert (await farm.staff.log_in("pm")).reveal() == "syt_1"
    assert farm.accounts.calls == [("register", OURS), ("log in", OURS)], "made if it is missing"


async def test_only_its_owner_logs_in_an_account_that_is_lent(farm: Begun) -> None:
    farm.inventory.apply((await farm.create(mxid=LENT)).changes)
    with pytest.raises(RefusalError) as caught:
        await farm.staff.log_in("helper")
    assert caught.value.message == (
        f"{LENT} is not of the agents' own accounts, and only its owner can log it in"
    )
    assert caught.value.hint == (
        "keep a token of it: !agency secrets set helper-matrix-token --type=matrix-token"
    )
    assert farm.accounts.calls == []


@pytest.mark.parametrize(
    ("rooms", "said"),
    [
        (0, f" {OURS} left 0 rooms, and its tokens open nothing any more."),
        (1, f" {OURS} left its room, and its tokens open nothing any more."),
        (3, f" {OURS} left 3 rooms, and its tokens open nothing any more."),
    ],
)
async def test_what_is_said_of_an_account_that_leaves(farm: Begun, rooms: int, said: str) -> None:
    farm.accounts.rooms = rooms
    assert await farm.staff.dismiss("pm") == (said, True)
    assert farm.accounts.calls == [("dismiss", OURS, ROOM)]


@pytest.mark.parametrize(
    ("rooms", "was"),
    [(0, "was not in the control room"), (1, "was taken out of the control room")],
)
async def test_what_is_said_of_an_account_that_is_taken_out(
    farm: Begun, rooms: int, was: str
) -> None:
    farm.inventory.apply((await farm.create(mxid=LENT)).changes)
    farm.accounts.rooms = rooms
    assert await farm.staff.dismiss("helper") == (
        f" {LENT} {was}; its tokens are its owner's to revoke.",
        True,
    )


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        (0, ""),
        (1, " Its secret is bound to it no more."),
        (3, " Its 3 secrets are bound to it no more."),
    ],
)
async def test_what_is_said_of_an_agent_that_is_deleted(
    farm: Begun, secrets: int, said: str
) -> None:
    farm.inventory.apply((await farm.create()).changes)

    async def release(agent: str) -> int:
        assert agent == "helper"
        return secrets

    farm.staff.release = release
    done = await farm.staff.delete("helper")
    assert done.text == (
        f"helper is deleted. Its audit log and its record stay.{said} @agent-helper:x.org left its "
        "room, and its tokens open nothing any more."
    )
    assert done.detail == {"matrix_id": "@agent-helper:x.org"}


async def test_without_a_vault_nothing_is_said_of_secrets(farm: Begun) -> None:
    farm.inventory.apply((await farm.create()).changes)
    assert "secret" not in (await farm.staff.delete("helper")).text


async def test_one_that_is_declared_keeps_its_rooms_and_secrets(farm: Begun) -> None:
    with pytest.raises(RefusalError, match="pm is declared"):
        await farm.staff.delete("pm")
    assert farm.accounts.calls == []


async def test_the_upkeep_brings_in_everybody_but_who_is_disabled(farm: Begun) -> None:
    dev, pm = "@agent-dev:x.org", OURS
    await farm.wish("dev", Desired.DISABLED)
    await farm.staff.open()
    assert farm.staff.members == [pm]
    farm.staff.welcome("dev")
    assert (farm.staff.members, farm.wakes) == ([dev, pm], [1]), "and soon"
    await farm.staff.dismiss("pm")
    assert (farm.staff.members, farm.wakes) == ([dev], [1])
    farm.inventory.apply((await farm.create()).changes)
    assert farm.staff.members == [dev, "@agent-helper:x.org"]
    assert farm.wakes == [1, 1], "who is made is brought in soon"


async def test_who_is_on_its_way_out_is_not_brought_in_and_who_is_stopped_is(farm: Begun) -> None:
    await farm.wish("dev", Desired.DELETED)
    await farm.wish("pm", Desired.STOPPED)
    await farm.staff.open()
    assert farm.staff.members == [OURS]
