"""Agents' accounts on a real Synapse: logged in by a token in the vault, lent, dismissed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from vault_places import leaks
from vaulting import master_key

from agency.clock import Clock
from agency.control.vault.keys import read_keyring
from agency.control.vault.vault import Vault
from agency.secrets import SecretValue
from agency.store import open_database

PM = "@agent-pm:agency.example"
TOKENS: dict[str, str] = {}


class Agency:
    """Alice, an operator, in the control room of an agency with a vault."""

    def __init__(self, homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> None:
        self.homeserver, self.control, self.wait_for = homeserver, control, wait_for
        control.start()
        self.room_id = control.ready().json()["room"]["id"]
        if "alice" not in TOKENS:
            TOKENS["alice"] = homeserver.create_user("alice")
        self.enter(TOKENS["alice"])
        self.room = room_class(homeserver, self.room_id, TOKENS["alice"])

    def enter(self, token: str) -> None:
        path = f"/_matrix/client/v3/join/{self.room_id}"
        self.homeserver.request("POST", path, token, {}).raise_for_status()

    def ask(self, text: str) -> str:
        return str(self.room.ask(text)["body"])

    def token(self) -> str:
        """The token that pm holds, as the vault has it."""

        async def read() -> str:
            database = open_database(str(self.control.database))
            try:
                key = SecretValue((self.control.credentials / "vault-master-key").read_text())
                values = await Vault(database, Clock(), read_keyring(key)).values_of("pm")
            finally:
                await database.close()
            (value,) = values
            return value.reveal()

        return asyncio.run(read())

    def who(self, token: str) -> tuple[int, str]:
        answer = self.homeserver.request("GET", "/_matrix/client/v3/account/whoami", token)
        return answer.status_code, str(answer.json().get("user_id", answer.json().get("errcode")))

    def membership(self, user: str) -> str:
        path = f"/_matrix/client/v3/rooms/{self.room_id}/state/m.room.member/{quote(user)}"
        answer = self.homeserver.request("GET", path, TOKENS["alice"])
        return str(answer.json().get("membership", "none"))


@pytest.fixture
def agency(homeserver: Any, control: Any, room_class: Any, wait_for: Any, tmp_path: Path) -> Agency:
    place = tmp_path / "credentials"
    place.mkdir()
    for file in homeserver.credentials.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    (place / "vault-master-key").write_text(master_key())
    control.credentials = place
    return Agency(homeserver, control, room_class, wait_for)


def test_an_agents_token_works_until_it_is_replaced_or_the_agent_disabled(agency: Agency) -> None:
    agency.wait_for(lambda: agency.membership(PM) == "join", "account in the room")
    assert "pm runs" in agency.ask("!agency agents start pm")
    assert "pm-matrix-token, version 1" in agency.ask("!agency agents matrix-login pm")
    first = agency.token()
    assert agency.who(first) == (200, PM)
    assert "pm-matrix-token, version 2" in agency.ask("!agency agents matrix-login pm")
    second = agency.token()
    assert agency.who(second) == (200, PM)
    assert agency.who(first) == (401, "M_UNKNOWN_TOKEN")
    assert "pm-matrix-token" in agency.ask("!agency secrets push pm"), "the agent holds it"
    assert "its tokens open nothing any more" in agency.ask("!agency agents disable pm")
    assert agency.who(second) == (401, "M_UNKNOWN_TOKEN")
    assert agency.membership(PM) == "leave"
    assert leaks(agency.control, first, second) == []
    assert agency.control.verify() == 0


def test_an_account_is_named_and_has_a_picture(agency: Agency) -> None:
    said = '!agency agents matrix-register pm --title="P. M." --avatar=mxc://x.org/abc'
    assert "is in the control room" in agency.ask(said)
    path = f"/_matrix/client/v3/profile/{quote(PM)}"
    profile = agency.homeserver.request("GET", path, TOKENS["alice"]).json()
    assert profile == {"displayname": "P. M.", "avatar_url": "mxc://x.org/abc"}


def test_an_existing_account_is_invited_commands_nothing_and_is_taken_out(agency: Agency) -> None:
    lent, name = agency.homeserver.create_user("lent"), "@lent:agency.example"
    create = "!agency agents create helper --template=developer --mxid="
    assert "does not exist" in agency.ask(create + "@nobody:agency.example")
    assert "is a person's" in agency.ask(create + "@alice:agency.example")
    assert agency.ask(create + name).startswith("helper is made from the template developer")
    agency.wait_for(lambda: agency.membership(name) == "invite", "invitation")
    agency.enter(lent)
    before = len(agency.homeserver.messages(TOKENS["alice"], agency.room_id))
    agency.homeserver.say(lent, agency.room_id, "!agency agents stop pm")
    agency.ask("!agency ping")
    after = agency.homeserver.messages(TOKENS["alice"], agency.room_id)
    assert len(after) == before + 3, "its command, the ping and the answer to that"
    assert "was taken out of the control room" in agency.ask("!agency agents disable helper")
    assert agency.membership(name) == "leave"
    assert agency.who(lent) == (200, name), "it is its owner's"
