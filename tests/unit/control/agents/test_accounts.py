"""Accounts of agents: an existing one that is lent, names and pictures, tokens in the vault."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from desk import ALICE, Desk
from herd import Farm
from vaulting import Safe

from agency.control.commands import GRAMMAR, Services
from agency.control.commands.registry import build_handlers
from agency.control.events import EventKind, IncomingEvent
from agency.control.execution.classify import Disposition, classify
from agency.control.store import agents
from agency.matrix import MatrixError

CREATE = "!agency agents create helper --template=developer"


@pytest.fixture
async def farm(desk: Desk) -> Farm:
    made = Farm(desk)
    await made.open()
    return made


@pytest.mark.parametrize(
    ("mxid", "why"),
    [
        ("@lent:elsewhere.org", "is an account of another homeserver"),
        ("@agent-other:x.org", "is of the agents' own"),
        (ALICE, "is a person's, or another user's of this agency"),
        ("@agency:x.org", "is a person's, or another user's of this agency"),
        ("@nobody:x.org", "does not exist"),
    ],
)
async def test_an_account_that_cannot_be_an_agents_is_refused(
    farm: Farm, mxid: str, why: str
) -> None:
    farm.accounts |= {ALICE, "@agency:x.org", "@agent-other:x.org", "@lent:elsewhere.org"}
    assert f"{mxid} {why}" in await farm.say(f"{CREATE} --mxid={mxid}")
    assert await farm.desk.database.read(agents.created) == []


async def test_an_existing_account_becomes_the_agents_and_of_no_other(farm: Farm) -> None:
    await farm.staff.open()
    assert (await farm.say(f"{CREATE} --mxid=@lent:x.org")).startswith("helper is made")
    assert farm.inventory["helper"].matrix_id == "@lent:x.org"
    assert farm.staff.members[-1] == "@lent:x.org", "the upkeep invites it"
    again = "!agency agents create second --template=developer --mxid=@lent:x.org"
    assert "is another agent's already" in await farm.say(again)
    await farm.open()
    assert farm.inventory["helper"].matrix_id == "@lent:x.org", "after a restart, too"


async def test_nobody_answers_the_agent_of_an_existing_account(farm: Farm) -> None:
    """Two programs could answer each other for ever."""
    from agency.control.agents.inventory import MatrixIds

    rules = dataclasses.replace(farm.operations.rules, agents=MatrixIds(farm.inventory))
    said = IncomingEvent(
        "$1", rules.room_id, "@lent:x.org", farm.desk.clock.now_ms(), EventKind.MESSAGE,
        "m.text", "!agency ping",
    )  # fmt: skip
    assert classify(said, rules, said.origin_ts).disposition is Disposition.REFUSE
    await farm.say(f"{CREATE} --mxid=@lent:x.org")
    assert classify(said, rules, said.origin_ts).disposition is Disposition.IGNORE


async def test_only_its_owner_names_and_logs_in_an_account_that_is_lent(farm: Farm) -> None:
    await farm.say(f"{CREATE} --mxid=@lent:x.org")
    assert "invited" in await farm.say("!agency agents matrix-register helper")
    refused = await farm.say('!agency agents matrix-register helper --title="Helper"')
    assert "not of the agents' own accounts" in refused
    assert farm.shown == {}
    assert "its owner's to revoke" in await farm.say("!agency agents disable helper")


async def test_an_account_gets_its_name_and_its_picture(farm: Farm) -> None:
    await farm.say("!agency agents matrix-register pm")
    assert farm.shown == {"@agent-pm:x.org": ("pm", "")}
    said = '!agency agents matrix-register pm --title="P. M." --avatar=mxc://x.org/abc_1'
    await farm.say(said)
    assert farm.shown == {"@agent-pm:x.org": ("P. M.", "mxc://x.org/abc_1")}
    for bad in ("https://x.org/a.png", "mxc://x.org/a/../b", "mxc://x.org"):
        refused = await farm.say(f"!agency agents matrix-register pm --avatar={bad}")
        assert "is no picture on a homeserver" in refused


class Keeping:
    """A farm whose control plane has a vault."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        desk = farm.desk
        self.vault = Safe(desk.database, desk.clock).vault()
        vault = self.vault

        class Behind:
            pass

        behind: Any = Behind()
        behind.vault = vault
        services = Services(
            desk.clock, desk.database, farm.lifecycle, GRAMMAR, desk.conditions,
            staff=farm.staff, secrets=lambda: behind,
        )  # fmt: skip
        for name, handler in build_handlers(services).items():
            if name in ("agents matrix-login", "agents disable"):
                desk.handlers[name] = handler

    async def tokens(self) -> list[str]:
        return [each.reveal() for each in await self.vault.values_of("pm")]


@pytest.fixture
async def keeping(farm: Farm) -> Keeping:
    made = Keeping(farm)
    await made.vault.database.write(made.vault.seal)
    return made


async def test_a_token_is_kept_for_its_agent_and_shown_to_nobody(keeping: Keeping) -> None:
    farm = keeping.farm
    said = await farm.say("!agency agents matrix-login pm")
    assert "the secret pm-matrix-token, version 1" in said
    (token,) = await keeping.tokens()
    assert token.startswith("syt_1_")
    again = await farm.say("!agency agents matrix-login pm")
    assert "version 2" in again
    (second,) = await keeping.tokens()
    assert second != token
    everything = str([await farm.desk.said(), await farm.desk.details()])
    assert "syt_" not in everything
    assert farm.logouts == []


async def test_a_secret_of_another_kind_is_not_overwritten(keeping: Keeping) -> None:
    from agency.control.vault.vault import Wanted
    from agency.secrets import SecretValue

    made = Wanted("pm-matrix-token", "text", 1, critical=False, author=ALICE)
    await keeping.vault.put(made, SecretValue("something-else"))
    refused = await keeping.farm.say("!agency agents matrix-login pm")
    assert "is not such a token" in refused
    assert keeping.farm.logins == []


async def test_a_token_that_cannot_be_kept_is_ended(keeping: Keeping) -> None:
    from agency.control.vault.vault import MOST_OF_AGENT, Wanted
    from agency.secrets import SecretValue

    for number in range(MOST_OF_AGENT):
        name = f"other-{number}"
        await keeping.vault.put(Wanted(name, "text", 1, False, ALICE), SecretValue("some-value"))
        await keeping.vault.bind(name, "pm", ALICE)
    assert "may have no more" in await keeping.farm.say("!agency agents matrix-login pm")
    assert keeping.farm.logouts == ["@agent-pm:x.org"]


async def test_a_disabled_agent_is_not_logged_in(keeping: Keeping) -> None:
    farm = keeping.farm
    assert "its tokens open nothing any more" in await farm.say("!agency agents disable pm")
    assert "enable it first" in await farm.say("!agency agents matrix-login pm")
    assert farm.logins == []


async def test_a_homeserver_that_says_nothing_leaves_no_agent(farm: Farm) -> None:
    async def away(_user: str) -> bool:
        raise MatrixError("no answer from the homeserver in time", where="x")

    farm.staff.accounts.exists = away  # type: ignore[method-assign]  # one call that fails
    assert "no answer" in (await farm.say(f"{CREATE} --mxid=@lent:x.org")).lower()
    assert await farm.desk.database.read(agents.created) == []
