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

LEVELS = power_levels(BOT, (), creator_is_listed=False)
del LEVELS["users"]


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
    levels: dict[str, Any] = field(default_factory=lambda: dict(LEVELS))
    before: dict[str, str] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)
    rooms: tuple[str, ...] = ("!r:x", "!known:x")
    predecessor: str = ""
    successor: str = ""  # of !known:x

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

    async def request_list(self, method: Any, path: Any, *, as_user: str) -> list[Any]:
        """The state of the room, for a member."""
        call = unquote(str(path)).removeprefix("/_matrix/client/v3/")
        room = call.removeprefix("rooms/").removesuffix("/state")
        assert (method, call) == ("GET", f"rooms/{room}/state")
        if room not in self.rooms or self.members.get(as_user) not in ("join", "ban"):
            raise refused(403, "M_FORBIDDEN")
        content = {"room_version": self.version, "predecessor": {"room_id": self.predecessor}}
        create = {"type": "m.room.create", "state_key": "", "sender": BOT, "content": content}
        levels = {"users": self.users, **self.levels}
        power = {"type": "m.room.power_levels", "state_key": "", "content": levels}
        content = {"replacement_room": self.successor if room == "!known:x" else ""}
        grave = {"type": "m.room.tombstone", "state_key": "", "sender": BOT, "content": content}
        return [create, power, grave, *map(self._member, self.members)]

    def _member(self, who: str) -> dict[str, Any]:
        return {
            "type": "m.room.member",
            "state_key": who,
            "sender": self.by.get(who, who),
            "content": {"membership": self.members[who]},
            "unsigned": {"replaces_state": f"${self.before[who]}"} if who in self.before else {},
        }

    def _answer(self, call: str, body: Any, as_user: str | None) -> dict[str, Any]:
        if call.startswith("GET directory"):
            if not self.room:
                raise refused(404, "M_NOT_FOUND")
            return {"room_id": "!r:x"}
        if call == "GET capabilities":
            return {"capabilities": {"m.room_versions": {"default": self.version}}}
        if call == "POST createRoom":
            self.room, self.created, self.members[BOT] = True, body, "join"
            self.users = body["power_level_content_override"]["users"]
            return {"room_id": "!r:x"}
        if "/event/$" in call:
            return {"content": {"membership": call.rpartition("$")[2]}}
        if call.endswith("power_levels"):
            self.users = body["users"]
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
    assert api.users == {BOT: 100, "@alice:x.org": 50, "@bob:far.org": 50}


@pytest.mark.parametrize(
    ("now", "before", "invited", "lacks"),
    [
        ("leave", "join", True, False),
        ("leave", "invite", False, True),
        ("leave", "", True, False),
        ("ban", "join", False, True),
        ("join", "invite", False, False),
    ],
)
async def test_operator_who_left_is_invited_again_and_one_who_declined_is_not(
    now: str, before: str, invited: bool, lacks: bool
) -> None:
    api = FakeApi(
        room=True,
        members={BOT: "join", PM: "join", "@alice:x.org": now, "@bob:far.org": "join"},
        users=dict.fromkeys(OPERATORS, 50),
        before={"@alice:x.org": before} if before else {},
    )
    for _ in range(2):
        found = await ensure(api)
        assert api.members["@alice:x.org"] == ("invite" if invited else now)
        assert [(each.lack, each.subject) for each in found.findings] == (
            [(Lack.OPERATOR, "@alice:x.org")] if lacks else []
        )
    assert len([call for call in api.done if "/invite" in call]) == invited, "and once"


@pytest.mark.parametrize(("by", "enters"), [("@alice:x.org", True), ("@carol:x.org", False)])
async def test_bot_that_was_taken_out_comes_back_on_an_operators_invitation(
    by: str, enters: bool
) -> None:
    users = dict.fromkeys(OPERATORS, 50)
    api = FakeApi(room=True, members={BOT: "invite", PM: "join"}, users=users, by={BOT: by})
    room = ControlRoom(api, CONFIG)  # type: ignore[arg-type]
    if not enters:
        with pytest.raises(RoomLostError, match=f"invited only by {by}"):
            await room.ensure()
        room.invited("!r:x", by)
        with pytest.raises(RoomLostError):
            await room.ensure()
        api.members[PM] = "leave"  # now nobody of ours sees who invited the bot
        room.invited("!r:x", "@bob:far.org")
    assert (await room.ensure()).id == "!r:x"
    assert api.members[BOT] == "join"


async def test_invitations_to_other_rooms_displace_none_to_this_one() -> None:
    api = FakeApi(room=True, members={BOT: "leave"}, users=dict.fromkeys(OPERATORS, 50))
    room = ControlRoom(api, CONFIG)  # type: ignore[arg-type]
    for number in range(100):
        room.invited(f"!other{number}:x", "@alice:x.org")
    api.members[BOT] = "invite"
    room.invited("!r:x", "@bob:far.org")
    assert (await room.ensure()).id == "!r:x"


@pytest.mark.parametrize("fails", [False, True])
async def test_room_that_was_entered_is_told_before_it_is_furnished(fails: bool) -> None:
    """Commands are taken in a new room from now on, whatever else cannot be made there."""
    away = refused(503, "M_UNKNOWN")
    api = FakeApi(room=True, members={BOT: "join"}, fail={"/invite @agent": away} if fails else {})
    room, entered = ControlRoom(api, CONFIG), list[str]()  # type: ignore[arg-type]

    async def note(room_id: str) -> None:
        assert not [call for call in api.done if "/invite" in call]
        entered.append(room_id)

    room.entered = note
    if fails:
        with pytest.raises(MatrixError):
            await room.ensure()
    else:
        await room.ensure()
    assert entered == ["!r:x"]


async def test_operator_who_cannot_be_invited_keeps_nobody_waiting() -> None:
    api = FakeApi(fail={"/invite @alice": refused(403, "M_FORBIDDEN")})
    await ensure(api)
    assert "@alice:x.org" not in api.members
    assert api.members["@bob:far.org"] == "invite"


async def test_room_that_was_made_in_between_is_taken() -> None:
    api = FakeApi(fail={"createRoom": refused(400, "M_ROOM_IN_USE")})
    with pytest.raises(MatrixError):
        await ensure(api)
    api.room, api.members[BOT] = True, "join"
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
    assert not {"@carol:x.org", "@dan:x.org"} & set(api.users), "whatever power they had"
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


@pytest.mark.parametrize(
    ("successor", "predecessor", "moves"),
    [("!r:x", "!known:x", True), ("!r:x", "!other:x", False), ("!third:x", "!known:x", False)],
)
async def test_only_the_successor_takes_the_rooms_place(
    successor: str, predecessor: str, moves: bool
) -> None:
    api = settled(successor=successor, predecessor=predecessor)
    state = await ensure(api, "!known:x")
    assert state.id == ("!r:x" if moves else "!known:x")
    assert ([each.lack for each in state.findings] == [Lack.REPLACED]) is not moves
    left = [call for call in api.done if call.endswith("/leave")]
    assert bool(left) is (successor == "!r:x" and not moves), "it does not stay in a wrong one"


async def test_known_room_that_is_gone_is_replaced() -> None:
    api = FakeApi(rooms=("!r:x",))
    assert (await ensure(api, "!known:x")).id == "!r:x"
    assert "POST createRoom" in api.done


@pytest.mark.parametrize(("membership", "word"), [("ban", "unban"), ("leave", "invite")])
async def test_room_that_cannot_be_entered_says_what_mends_it(membership: str, word: str) -> None:
    with pytest.raises(RoomLostError) as raised:
        await ensure(FakeApi(room=True, members={BOT: membership, PM: "join"}))
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
