"""Programs beside an agent: what they are handed, how they are kept, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agency.agent.gateway.config import GatewayConfig
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.own_task import own_task_of
from agency.canonical import sha256_hex
from agency.control.runtimes.beside.base import Occupant
from agency.control.runtimes.beside.crew import Crew, Hired
from agency.control.runtimes.beside.kept import Pace
from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.control.runtimes.beside.writing import (
    Places,
    chat_document,
    gateway_document,
    policy_file,
    token_digest,
    work_document,
)
from agency.errors import AgencyError
from agency.secrets import SecretValue

USER = "@agent-pm:agency.example"
# In place of the interpreter: writes down how it was started, and stays.
STANDS_IN = """#!/bin/sh
echo "$5 $$ $(cat "$CREDENTIALS_DIRECTORY"/matrix-token 2>/dev/null)" >> {place}/started
exec sleep 60
"""


class Accounts:
    """Accounts of a homeserver that is away as long as it is told so."""

    def __init__(self) -> None:
        self.away = False
        self.given: list[str] = []
        self.ended: list[str] = []

    async def log_in(self, agent: str) -> SecretValue:
        if self.away:
            raise AgencyError("the homeserver does not answer")
        self.given.append(f"token-{len(self.given) + 1}-of-{agent}")
        return SecretValue(self.given[-1])

    async def counts(self, token: SecretValue) -> bool:
        return token.reveal() not in self.ended

    async def log_out(self, token: SecretValue) -> None:
        if self.away:
            raise AgencyError("the homeserver does not answer")
        self.ended.append(token.reveal())


class Scene:
    def __init__(self, place: Path) -> None:
        self.place, self.accounts = place, Accounts()
        self.acp = place / "credentials"
        program = place / "python"
        program.write_text(STANDS_IN.format(place=place))
        program.chmod(0o700)
        self.models = ModelSettings(url="http://127.0.0.1:2100", tokens=place / "tokens")
        hired = Hired(
            "http://127.0.0.1:8008", self.models, self.accounts, str(program), Pace(first_s=0.05)
        )
        self.hired = hired
        self.places = Places(place / "agents" / "pm")
        self.crew = self.make()

    def make(self) -> Crew:
        settings = ProgramSettings(model="small")
        return Crew(
            "pm",
            lambda: Occupant("pm", USER),
            settings,
            self.hired,
            self.places,
            f"beside-{os.getpid()}",
        )

    def give_policy(self) -> None:
        self.places.policy.parent.mkdir(parents=True, exist_ok=True)
        self.places.policy.write_text("{}")

    def started(self, verb: str) -> list[list[str]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.place / "started").read_text().splitlines()
            return [words for line in lines if (words := line.split())[0] == verb]
        return []

    async def until(self, wanted: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not wanted():  # noqa: ASYNC110 - there is no event of another process
                await asyncio.sleep(0.02)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    yield made
    await made.crew.close(2)


def files(place: Path) -> dict[str, int]:
    """Modes of all credentials below a place."""
    found = [*place.rglob("credentials/*"), *place.rglob("*.sha256")]
    return {str(each.relative_to(place)): stat.S_IMODE(each.stat().st_mode) for each in found}


def test_tool_servers_are_kept_from_the_control_planes_state_and_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/agency-control")
    models = ModelSettings(url="http://127.0.0.1:2100", tokens=tmp_path)
    told = gateway_document(Places(tmp_path / "agents" / "pm"), "pm", models)
    gateway = GatewayConfig.model_validate_json(json.dumps(told))
    assert set(gateway.hidden) == {tmp_path, Path("/run/credentials/agency-control")}


def test_a_command_line_program_does_tasks_as_it_answers_in_rooms(tmp_path: Path) -> None:
    places = Places(tmp_path / "agents" / "pm")
    models = ModelSettings(url="http://127.0.0.1:2100", tokens=tmp_path)
    run = (Path("/opt/opencode"),)
    program = ProgramSettings(model="small", kind="command", agent="opencode", run=run)
    file = tmp_path / "work.json"
    file.write_text(json.dumps(work_document(places, models, program)))
    own = own_task_of(file)
    assert own is not None
    assert (own.chat, own.directory) == (places.rooms.config, places.directory)
    file.write_text(json.dumps(work_document(places, models, ProgramSettings(model="small"))))
    assert own_task_of(file) is None, "that of the builtin program"
    assert own_task_of(tmp_path / "none") is None


def test_the_configurations_are_those_that_the_programs_read(tmp_path: Path) -> None:
    places = Places(tmp_path / "agents" / "pm")
    models = ModelSettings(url="http://127.0.0.1:2100", tokens=tmp_path)
    gateway = GatewayConfig.model_validate_json(json.dumps(gateway_document(places, "pm", models)))
    program = ProgramSettings(model="small")
    told = chat_document(places, "pm", USER, "http://127.0.0.1:8008/", models, program)
    chat = ChatConfig.model_validate_json(json.dumps(told))
    assert gateway.audit_socket is None
    assert chat.audit_socket is None
    assert chat.gateway is not None
    assert chat.gateway.socket is not None
    # Paths of sockets are short, seen from where the programs run.
    assert places.directory / chat.gateway.socket == gateway.socket
    assert len(str(chat.gateway.socket)) < 40
    assert chat.gosuto == gateway.state_dir / "policy.json" == policy_file(tmp_path, "pm")
    assert (chat.user, chat.default_model) == (USER, "small")


async def test_tokens_are_new_at_each_start_and_worthless_after_it(scene: Scene) -> None:
    crew, seen = scene.crew, []
    digest = token_digest(scene.models.tokens, "pm")
    for _ in range(2):
        await crew.open(scene.acp)
        held = {each.reveal() for each in crew.secrets()}
        modes = files(scene.place)
        assert len(held) == 3
        assert set(modes.values()) == {0o600}
        assert {Path(name).name for name in modes} == {
            "gateway-token",
            "gateway-control-token",
            "model-token",
            "pm.sha256",
        }
        assert not seen or not held & seen[-1]
        seen.append(held)
        token = (scene.places.rooms.credentials / "model-token").read_text()
        assert digest.read_text() == sha256_hex(token.encode())
        control = (scene.acp / "gateway-control-token").read_text()
        # The program in rooms may call tools, and may not decide on its own calls.
        rooms = {each.read_text() for each in scene.places.rooms.credentials.iterdir()}
        assert control in held - rooms
        await scene.until(lambda: len(crew.pids()) == 1)
        pids = crew.pids()
        await crew.close(2)
        assert files(scene.place) == {}
        assert crew.secrets() == ()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_the_account_is_used_from_the_policy_on_and_logged_out_at_the_end(
    scene: Scene,
) -> None:
    await scene.crew.open(scene.acp)
    await scene.until(lambda: scene.started("gateway"))
    await asyncio.sleep(0.3)
    assert (scene.started("chat"), scene.accounts.given) == ([], [])
    scene.give_policy()
    await scene.until(lambda: scene.started("chat"))
    assert scene.started("chat")[0][2] == "token-1-of-pm"
    assert "token-1-of-pm" in {each.reveal() for each in scene.crew.secrets()}
    await scene.crew.close(2)
    assert scene.accounts.ended == ["token-1-of-pm"]


@pytest.mark.parametrize("verb", ["gateway", "chat"])
async def test_a_program_that_dies_is_started_again_alone(scene: Scene, verb: str) -> None:
    scene.give_policy()
    await scene.crew.open(scene.acp)
    await scene.until(lambda: scene.started("gateway") and scene.started("chat"))
    other = {"gateway": "chat", "chat": "gateway"}[verb]
    kept = scene.started(other)
    os.kill(int(scene.started(verb)[0][1]), signal.SIGKILL)
    await scene.until(lambda: len(scene.started(verb)) == 2)
    assert scene.started(other) == kept
    assert scene.accounts.ended == []


async def test_an_account_whose_token_was_taken_away_gets_another(scene: Scene) -> None:
    scene.give_policy()
    await scene.crew.open(scene.acp)
    for number, token in enumerate(("token-1-of-pm", "token-1-of-pm", "token-2-of-pm"), 1):
        await scene.until(lambda number=number: len(scene.started("chat")) == number)
        name, pid, held = scene.started("chat")[-1]
        assert (name, held) == ("chat", token)
        if number == 2:
            scene.accounts.ended.append(token)  # by somebody else
        os.kill(int(pid), signal.SIGKILL)


async def test_a_homeserver_that_is_away_is_asked_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.accounts.away = True
    scene.give_policy()
    await scene.crew.open(scene.acp)
    await scene.until(lambda: "does not answer" in caplog.text)
    scene.accounts.away = False
    await scene.until(lambda: scene.started("chat"))
    assert scene.accounts.given == ["token-1-of-pm"]


async def test_a_session_that_a_killed_control_plane_left_is_ended_first(scene: Scene) -> None:
    scene.give_policy()
    await scene.crew.open(scene.acp)
    await scene.until(lambda: scene.started("chat"))
    scene.accounts.away = True  # the end cannot be told, as by a kill
    await scene.crew.close(2)
    assert scene.accounts.ended == []
    scene.accounts.away = False
    scene.crew = scene.make()
    await scene.crew.open(scene.acp)
    await scene.until(lambda: len(scene.started("chat")) == 2)
    assert scene.accounts.ended == ["token-1-of-pm"]
    assert scene.started("chat")[1][2] == "token-2-of-pm"


def test_pauses_grow_to_their_bound() -> None:
    pace = Pace(first_s=0.5, longest_s=60)
    assert [pace.pause_s(n) for n in (1, 2, 3, 7, 8, 9, 10**9)] == [0.5, 1, 2, 32, 60, 60, 60]
