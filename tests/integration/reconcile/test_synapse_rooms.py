"""synapse-rooms against a real Synapse."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.reconcile.engine.engine import Engine, Outcome, Report
from agency.reconcile.matrix.rooms import SynapseRoomsSettings
from agency.reconcile.matrix.synapse_rooms import opened

ALICE, CONTROL = "@alice:agency.example", "#control:agency.example"
SPACE = "the space"
BOT = "@agency:agency.example"
AGENTS = ["@agent-pm:agency.example", "@agent-developer:agency.example"]


@dataclass
class Setup:
    homeserver: object
    place: Path

    async def converge(self, *, check: bool = False, **changed) -> Report:
        settings = SynapseRoomsSettings.model_validate(
            {
                "homeserverUrl": self.homeserver.url,
                "instance": "test",
                "domain": self.homeserver.domain,
                "botId": BOT,
                "controlRoomAlias": CONTROL,
                "operators": [ALICE],
                "agents": [{"matrixId": agent} for agent in AGENTS],
                **changed,
            }
        )
        async with opened(settings) as reconciler:
            engine = Engine("synapse-rooms", reconciler, self.place / "lock")
            return await engine.run(check=check)

    def ask(self, method: str, path: str, body=None, *, token: str | None = None):
        answer = self.homeserver.request(
            method, f"/_matrix/client/v3{path}", token or self.homeserver.as_token, body
        )
        return answer.json()

    def room(self, which: str = CONTROL) -> str | None:
        if which == CONTROL:
            return self.ask("GET", f"/directory/room/{CONTROL.replace('#', '%23')}").get("room_id")
        for room in self.ask("GET", "/joined_rooms")["joined_rooms"]:
            events = self.ask("GET", f"/rooms/{room}/state")
            if any(e["content"].get("agency.instance") == "test" for e in events):
                return room
        return None

    def state(self, alias: str = CONTROL) -> dict:
        events = self.ask("GET", f"/rooms/{self.room(alias)}/state")
        return {(e["type"], e["state_key"]): (e["event_id"], e["content"]) for e in events}

    def put(self, kind: str, content: dict, alias: str = CONTROL, key: str = "") -> None:
        answer = self.ask("PUT", f"/rooms/{self.room(alias)}/state/{kind}/{key}", content)
        assert "event_id" in answer, answer

    def leave(self, room: str | None, user: str = BOT) -> None:
        assert self.ask("POST", f"/rooms/{room}/leave?user_id={user}", {}) == {}

    def forget(self) -> None:
        """Begin again: nothing leads to the rooms."""
        if self.room() is not None:
            self.ask("DELETE", f"/directory/room/{CONTROL.replace('#', '%23')}")
        if self.room(SPACE) is not None:
            self.leave(self.room(SPACE))


@pytest.fixture(scope="module")
def alice(homeserver) -> str:
    return homeserver.create_user("alice")


@pytest.fixture
def setup(homeserver, alice, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(homeserver.credentials))
    setup = Setup(homeserver, tmp_path)
    yield setup
    setup.forget()


async def test_makes_the_rooms_and_then_changes_nothing(setup, alice):
    assert (await setup.converge(check=True)).exit_code == 1
    assert setup.room() is None

    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    state = {place: content for place, (_, content) in setup.state().items()}
    assert state["m.room.join_rules", ""]["join_rule"] == "invite"
    assert state["m.room.power_levels", ""]["users"].get(ALICE) == 50
    assert ("m.room.encryption", "") not in state
    assert state["m.room.member", ALICE]["membership"] == "invite"
    assert {state["m.room.member", who]["membership"] for who in [BOT, *AGENTS]} == {"join"}
    space = {place: content for place, (_, content) in setup.state(SPACE).items()}
    assert space["m.room.create", ""]["type"] == "m.space"
    assert space["m.space.child", setup.room()]["via"] == ["agency.example"]
    assert state["m.space.parent", setup.room(SPACE)]["canonical"] is True

    before = (setup.state(), setup.state(SPACE))
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    assert (await setup.converge(check=True)).exit_code == 0
    assert (setup.state(), setup.state(SPACE)) == before
    # the operator finds the control room through the space
    setup.ask("POST", f"/join/{setup.room(SPACE)}", {}, token=alice)
    seen = setup.homeserver.request(
        "GET", f"/_matrix/client/v1/rooms/{setup.room(SPACE)}/hierarchy", alice
    ).json()
    assert setup.room() in {one["room_id"] for one in seen["rooms"]}


def levels(setup, **changed):
    content = setup.state()["m.room.power_levels", ""][1]
    setup.put("m.room.power_levels", {**content, **changed})


def operator_disarmed(setup):
    users = setup.state()["m.room.power_levels", ""][1]["users"]
    levels(setup, users={k: v for k, v in users.items() if k != ALICE})


def stranger_armed(setup):
    users = setup.state()["m.room.power_levels", ""][1]["users"]
    levels(setup, users={**users, "@agent-pm:agency.example": 50})


def anybody_invites(setup):
    levels(setup, invite=0)


def anybody_sets_state(setup):
    levels(setup, state_default=0)


def anybody_sets_levels(setup):
    levels(setup, events={"m.room.power_levels": 0})


def opened_to_all(setup):
    setup.put("m.room.join_rules", {"join_rule": "public"})


def history_opened(setup):
    setup.put("m.room.history_visibility", {"history_visibility": "world_readable"})


def alias_dropped(setup):
    setup.put("m.room.canonical_alias", {})


def agent_left(setup):
    setup.leave(setup.room(), "@agent-pm:agency.example")


def operator_kicked(setup):
    setup.ask("POST", f"/rooms/{setup.room()}/kick", {"user_id": ALICE})


def out_of_the_space(setup):
    setup.put("m.space.child", {}, SPACE, setup.room())


def no_parent(setup):
    setup.put("m.space.parent", {}, CONTROL, setup.room(SPACE))


def space_opened(setup):
    setup.put("m.room.join_rules", {"join_rule": "public"}, SPACE)


def space_lost(setup):
    setup.leave(setup.room(SPACE))


def control_room_lost(setup):
    setup.ask("DELETE", f"/directory/room/{CONTROL.replace('#', '%23')}")


DRIFTS = [
    operator_disarmed, stranger_armed, anybody_invites, anybody_sets_state, anybody_sets_levels,
    opened_to_all, history_opened, alias_dropped, agent_left, operator_kicked, out_of_the_space,
    no_parent, space_opened, space_lost, control_room_lost,
]  # fmt: skip


# One of each kind always: powers, openness, names, members, the space, a room that is gone.
OFTEN = [
    *(operator_disarmed, anybody_sets_levels, history_opened),
    *(alias_dropped, operator_kicked, out_of_the_space, control_room_lost),
]


@pytest.mark.parametrize(
    "drift",
    [
        pytest.param(each, id=each.__name__, marks=[] if each in OFTEN else pytest.mark.thorough)
        for each in DRIFTS
    ],
)
async def test_every_kind_of_drift_is_seen_and_mended(setup, drift):
    await setup.converge()
    wanted = setup.state()["m.room.power_levels", ""][1]
    drift(setup)
    check = await setup.converge(check=True)
    assert (check.outcome, int(check.exit_code)) == (Outcome.DRIFT, 1)
    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    state = {place: content for place, (_, content) in setup.state().items()}
    assert state["m.room.power_levels", ""] == wanted
    assert state["m.room.join_rules", ""]["join_rule"] == "invite"
    assert state["m.room.history_visibility", ""]["history_visibility"] == "shared"
    assert state["m.room.member", AGENTS[0]]["membership"] == "join"
    assert state["m.room.member", ALICE]["membership"] == "invite"


async def test_a_new_operator_gets_power_and_an_old_one_loses_it(setup, homeserver):
    homeserver.create_user("bert")
    await setup.converge()
    bert = "@bert:agency.example"
    assert (await setup.converge(operators=[bert])).outcome is Outcome.CHANGED
    users = setup.state()["m.room.power_levels", ""][1]["users"]
    assert (users.get(bert), users.get(ALICE)) == (50, None)


async def test_an_encrypted_control_room_is_left_to_a_person(setup):
    await setup.converge()
    setup.put("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    report = await setup.converge()
    assert (report.outcome, int(report.exit_code)) == (Outcome.FAILED, 1)
    assert "the room is encrypted" in report.failures[0].error.message
    setup.forget()
    assert (await setup.converge()).outcome is Outcome.CHANGED


async def test_a_control_room_that_the_bot_left_is_left_to_a_person(setup):
    await setup.converge()
    room = setup.room()
    setup.leave(room)
    report = await setup.converge()
    assert report.outcome is Outcome.FAILED
    assert "the bot is not in" in report.failures[0].error.message
    assert setup.room() == room


async def test_a_run_that_failed_half_way_converges_next_time(setup, monkeypatch):
    from agency.matrix import MatrixError
    from agency.reconcile.matrix.synapse_rooms import SynapseRooms

    async def refuse(_self):
        raise MatrixError("no answer in time", where="test")

    with monkeypatch.context() as patch:
        patch.setattr(SynapseRooms, "_make_space", refuse)
        assert (await setup.converge()).outcome is Outcome.FAILED
    control = setup.room()
    assert control is not None
    assert (await setup.converge()).outcome is Outcome.CHANGED
    assert setup.room() == control


async def test_two_runs_at_once_make_one_room(setup):
    reports = await asyncio.gather(setup.converge(), setup.converge())
    assert sorted(report.outcome for report in reports) == [Outcome.CHANGED, Outcome.UNCHANGED]


async def test_the_token_is_not_told(setup, homeserver):
    report = await setup.converge()
    assert homeserver.as_token not in json.dumps(report.as_dict())


async def test_a_homeserver_that_is_down_is_a_missing_prerequisite(setup):
    with pytest.raises(PrerequisiteError, match="does not answer"):
        await setup.converge(homeserverUrl="http://127.0.0.1:9")
