"""The control room is converged: what is missing is done, and what is there is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from agency.control.config import AgentEntry, ControlConfig
from agency.matrix import ControlRoom, Lack, MatrixError, RoomLostError, RoomState, power_levels

BOT = "@agency:x.org"
PM = "@agent-pm:x.org"
OPERATORS = ("@alice:x.org", "@bob:far.org")
CONFIG = ControlConfig(
    instance="test",
    domain="x.org",
    homeserver_url="http://x",
    listen_port=1,
    bot_id=BOT,
    control_room_alias="#control:x.org",
    operators=OPERATORS,
    agents=(AgentEntry(name="pm", role="pm", matrix_id=PM, port=1),),
    database_url="sqlite+aiosqlite:///x.db",
    state_dir=Path("/nowhere"),
)


def refused(status: int, errcode: str = "") -> MatrixError:
    return MatrixError("refused", where="x", status=status, errcode=errcode)


@dataclass
class FakeApi:
    """A homeserver with one room, which may not be there yet."""

    version: str = "12"
    room: bool = False
    members: dict[str, str] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    created: dict[str, Any] = field(default_factory=dict)
    fail: dict[str, MatrixError] = field(default_factory=dict)

    async def request(
        self, method: Any, path: Any, body: Any = None, *, as_user: str | None = None
    ) -> dict[str, Any]:
        what = unquote(str(path)).removeprefix("/_matrix/client/v3/")
        call = f"{method} {what}"
        if body and "user_id" in body:
            call += f" {body['user_id']}"
        for part, error in self.fail.items():
            if part in call:
                raise error
        if method != "GET":
            self.done.append(call + (f" as {as_user}" if as_user else ""))
        return self._answer(call, body, as_user)

    def _answer(self, call: str, body: Any, as_user: str | None) -> dict[str, Any]:
        if call.startswith("GET directory"):
            if not self.room:
                raise refused(404, "M_NOT_FOUND")
            return {"room_id": "!r:x"}
        if call == "GET capabilities":
            return {"capabilities": {"m.room_versions": {"default": self.version}}}
        if call == "POST createRoom":
            self.room, self.created, self.members[BOT] = True, body, "join"
            return {"room_id": "!r:x"}
        if call.endswith("/members"):
            return {
                "chunk": [
                    {"state_key": who, "content": {"membership": membership}}
                    for who, membership in self.members.items()
                ]
            }
        if call.endswith("power_levels"):
            if body is not None:
                self.users = body["users"]
            return {"users": self.users, "ban": 50}
        if "/invite" in call:
            self.members[body["user_id"]] = "invite"
        if call.startswith("POST join"):
            self.members[str(as_user)] = "join"
        return {}


async def ensure(api: FakeApi, known: str | None = None) -> RoomState:
    return await ControlRoom(api, CONFIG).ensure(known)  # type: ignore[arg-type]


async def test_room_is_made_and_everybody_is_brought_in() -> None:
    api = FakeApi()
    assert (await ensure(api)).id == "!r:x"
    assert api.members == {
        BOT: "join",
        PM: "join",
        "@alice:x.org": "invite",
        "@bob:far.org": "invite",
    }
    assert api.created["preset"] == "private_chat"
    assert api.created["visibility"] == "private"
    assert api.created["room_alias_name"] == "control"
    assert "m.room.encryption" not in str(api.created)


async def test_second_time_changes_nothing() -> None:
    api = FakeApi()
    await ensure(api)
    api.users = dict.fromkeys(OPERATORS, 50)
    api.done.clear()
    before = dict(api.members)
    assert (await ensure(api)).id == "!r:x"
    assert api.members == before
    assert not [
        call for call in api.done if "invite" in call or "power" in call or "create" in call
    ]


async def test_new_operator_is_invited_and_given_power() -> None:
    api = FakeApi(
        room=True,
        members={BOT: "join", PM: "join", "@alice:x.org": "join", "@carol:x.org": "join"},
        users={BOT: 100, "@alice:x.org": 100, "@carol:x.org": 75},
    )
    await ensure(api)
    assert api.members["@bob:far.org"] == "invite"
    assert api.users == {BOT: 100, "@alice:x.org": 100, "@carol:x.org": 75, "@bob:far.org": 50}


async def test_operator_who_left_is_invited_again() -> None:
    api = FakeApi(
        room=True,
        members={BOT: "join", PM: "join", "@alice:x.org": "leave", "@bob:far.org": "join"},
        users=dict.fromkeys(OPERATORS, 50),
    )
    await ensure(api)
    assert api.members["@alice:x.org"] == "invite"


async def test_operator_who_cannot_be_invited_keeps_nobody_waiting() -> None:
    api = FakeApi(fail={"/invite @alice": refused(403, "M_FORBIDDEN")})
    await ensure(api)
    assert "@alice:x.org" not in api.members
    assert api.members["@bob:far.org"] == "invite"


async def test_room_that_was_made_in_between_is_taken() -> None:
    api = FakeApi(fail={"createRoom": refused(400, "M_ROOM_IN_USE")})
    with pytest.raises(MatrixError):
        await ensure(api)
    api.room = True
    assert (await ensure(api)).id == "!r:x"


async def test_users_that_exist_are_fine_and_other_refusals_are_not() -> None:
    assert (await ensure(FakeApi(fail={"register": refused(400, "M_USER_IN_USE")}))).id == "!r:x"
    with pytest.raises(MatrixError):
        await ensure(FakeApi(fail={"register": refused(400, "M_EXCLUSIVE")}))


@pytest.mark.parametrize(("version", "listed"), [("9", True), ("11", True), ("12", False)])
async def test_creator_is_listed_where_rooms_want_it(version: str, listed: bool) -> None:
    api = FakeApi(version=version)
    await ensure(api)
    assert (BOT in api.created["power_level_content_override"]["users"]) is listed


def test_operators_may_invite_and_may_not_change_the_rules() -> None:
    levels = power_levels(BOT, OPERATORS, creator_is_listed=True)
    assert levels["users"] == {BOT: 100, "@alice:x.org": 50, "@bob:far.org": 50}
    assert levels["invite"] == 50
    assert levels["state_default"] == 100
    assert levels["events_default"] == 0
    assert not {"m.room.encryption", "m.room.power_levels"} & set(levels["events"])


async def test_former_operator_loses_the_power_that_operators_get() -> None:
    api = FakeApi(
        room=True,
        members={BOT: "join", PM: "join"},
        users={**dict.fromkeys(OPERATORS, 50), BOT: 100, "@carol:x.org": 50, "@dan:x.org": 75},
    )
    await ensure(api)
    assert api.users["@carol:x.org"] == 0
    assert api.users["@dan:x.org"] == 75, "another's decision stays"
    assert [api.users[who] for who in OPERATORS] == [50, 50]


@pytest.mark.parametrize("step", [f"invite {PM}", "join/!r:x"])
async def test_banned_agent_is_a_warning(step: str) -> None:
    api = FakeApi(
        room=True,
        members={BOT: "join", PM: "ban"},
        users=dict.fromkeys(OPERATORS, 50),
        fail={step: refused(403, "M_BAD_STATE")},
    )
    if step.startswith("join"):
        api.fail = {}
        original = api.request

        async def request(method: Any, path: Any, body: Any = None, **more: Any) -> Any:
            if more.get("as_user") == PM and "join" in str(path):
                raise refused(403, "M_FORBIDDEN")
            return await original(method, path, body, **more)

        api.request = request  # type: ignore[method-assign]
    (found,) = (await ensure(api)).findings
    assert api.members["@alice:x.org"] == "invite", "the others are brought in all the same"
    assert (found.lack, found.subject) == (Lack.AGENT, PM)
    assert "registration" not in found.hint, "the hint names the real cause"


async def test_homeserver_that_is_away_is_no_banned_agent() -> None:
    api = FakeApi(room=True, members={BOT: "join"}, fail={f"invite {PM}": refused(503)})
    with pytest.raises(MatrixError):
        await ensure(api)


def settled(**changes: Any) -> FakeApi:
    """A homeserver where nothing is missing."""
    members = {BOT: "join", PM: "join", **dict.fromkeys(OPERATORS, "join")}
    return FakeApi(
        **{"room": True, "members": members, "users": dict.fromkeys(OPERATORS, 50), **changes}
    )


async def test_room_without_a_fault_has_no_findings() -> None:
    assert await ensure(settled(), "!r:x") == RoomState("!r:x")


async def test_lost_alias_is_given_back() -> None:
    api = settled(room=False)
    assert await ensure(api, "!r:x") == RoomState("!r:x")
    assert "PUT directory/room/#control:x.org" in api.done
    assert "POST createRoom" not in api.done


async def test_lost_alias_that_cannot_be_given_back_is_a_finding() -> None:
    api = settled(room=False, fail={"PUT directory": refused(403, "M_FORBIDDEN")})
    state = await ensure(api, "!r:x")
    assert state.id == "!r:x"
    assert [(each.lack, each.subject) for each in state.findings] == [
        (Lack.ALIAS, "#control:x.org")
    ]


async def test_foreign_alias_does_not_take_the_room_away() -> None:
    state = await ensure(settled(), "!known:x")
    assert state.id == "!known:x"
    (found,) = state.findings
    assert found.lack is Lack.ALIAS
    assert "another room" in found.text


@pytest.mark.parametrize("successor", ["!r:x", "!third:x"])
async def test_only_the_successor_takes_the_rooms_place(successor: str) -> None:
    api = settled()
    original = api.request

    async def request(method: Any, path: Any, body: Any = None, **more: Any) -> Any:
        if "tombstone" in str(path):
            return {"replacement_room": successor}
        return await original(method, path, body, **more)

    api.request = request  # type: ignore[method-assign]
    assert (await ensure(api, "!known:x")).id == ("!r:x" if successor == "!r:x" else "!known:x")


async def test_known_room_that_is_gone_is_replaced() -> None:
    api = FakeApi(fail={"join/!known:x": refused(404, "M_NOT_FOUND")})
    assert (await ensure(api, "!known:x")).id == "!r:x"
    assert "POST createRoom" in api.done


@pytest.mark.parametrize(("message", "word"), [("You are banned", "unban"), ("no", "invite")])
async def test_room_that_cannot_be_entered_says_what_mends_it(message: str, word: str) -> None:
    error = MatrixError(message, where="x", status=403, errcode="M_FORBIDDEN")
    with pytest.raises(RoomLostError) as raised:
        await ensure(FakeApi(room=True, fail={"join/!r:x": error}))
    assert word in str(raised.value.hint)


async def test_missing_permission_is_a_finding() -> None:
    api = settled(users={}, fail={"PUT rooms/!r:x/state/m.room.power_levels": refused(403)})
    (found,) = (await ensure(api)).findings
    assert found.lack is Lack.POWER
    assert "power 100" in found.hint


@pytest.mark.parametrize(
    ("status", "errcode", "word"),
    [
        (403, "M_BAD_STATE", "unban"),
        (403, "M_FORBIDDEN", "power to invite"),
        (502, "", "reachable"),
        (404, "M_NOT_FOUND", "reachable"),
        (400, "M_EXCLUSIVE", "agency render"),
    ],
)
async def test_hint_names_the_real_cause(status: int, errcode: str, word: str) -> None:
    api = settled(fail={"invite @bob:far.org": refused(status, errcode)})
    api.members["@bob:far.org"] = "leave"
    (found,) = (await ensure(api)).findings
    assert (found.lack, found.subject) == (Lack.OPERATOR, "@bob:far.org")
    assert word in found.hint


async def test_operators_homeserver_that_does_not_answer_holds_up_nobody() -> None:
    api = settled(fail={"invite @bob:far.org": MatrixError("no answer in time", where="x")})
    api.members["@bob:far.org"] = "leave"
    assert [each.lack for each in (await ensure(api)).findings] == [Lack.OPERATOR]
    own = settled(fail={"invite @alice:x.org": MatrixError("no answer in time", where="x")})
    own.members["@alice:x.org"] = "leave"
    with pytest.raises(MatrixError):
        await ensure(own)
