"""Programs beside an agent that is a unit: what their units are handed, and the account's life."""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agency.agent.gateway.config import GatewayConfig
from agency.agent.programs.command.hosting import HostConfig
from agency.agent.programs.work import WorkConfig
from agency.agent.rooms.config import ChatConfig, CommandApart
from agency.canonical import sha256_hex
from agency.control.gosuto.push import SharedPush
from agency.control.runtimes.beside.crew import Hired
from agency.control.runtimes.beside.hosted import Hosted
from agency.control.runtimes.beside.kept import Pace
from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.errors import AgencyError
from agency.secrets import SecretValue

ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "modules/portable/machine/etc/systemd/system"
UNITS_OF_IT = (
    "agency-agent@",
    "agency-agent-gateway@",
    "agency-agent-chat@",
    "agency-agent-task-loop@",
)
USER = "@agent-pm:agency.example"


class Accounts:
    """Accounts of a homeserver that is away, or forgets tokens, as it is told."""

    def __init__(self) -> None:
        self.away = False
        self.given: list[str] = []
        self.ended: set[str] = set()

    def _asked(self) -> None:
        if self.away:
            raise AgencyError("the homeserver does not answer")

    async def log_in(self, agent: str) -> SecretValue:
        self._asked()
        self.given.append(f"account-{len(self.given) + 1}-of-{agent}")
        return SecretValue(self.given[-1])

    async def counts(self, token: SecretValue) -> bool:
        self._asked()
        return token.reveal() not in self.ended

    async def log_out(self, token: SecretValue) -> None:
        self._asked()
        self.ended.add(token.reveal())


class Scene:
    def __init__(self, place: Path) -> None:
        self.accounts = Accounts()
        (place / "tokens").mkdir()
        self.models = ModelSettings(
            url="http://127.0.0.1:8028", tokens=place / "tokens", audit_socket=Path("/run/a.sock")
        )
        self.hired = Hired("http://127.0.0.1:8008/", self.models, self.accounts)
        self.directory = place / "run" / "beside" / "pm"
        self.digest = place / "tokens" / "pm.sha256"
        self.hosted = self.make()

    def make(self, program: ProgramSettings | None = None) -> Hosted:
        pace, program = Pace(first_s=0.01), program or ProgramSettings(model="small")
        return Hosted("pm", USER, program, self.hired, self.directory, look_s=0.02, pace=pace)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    async def until(self, wanted: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not wanted():  # noqa: ASYNC110 - there is no event of another task
                await asyncio.sleep(0.01)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.accounts.away = False
    await made.hosted.close()


async def test_their_units_get_what_they_load_and_each_its_own(scene: Scene) -> None:
    await scene.hosted.open()
    handed = {each.name: stat.S_IMODE(each.stat().st_mode) for each in scene.directory.iterdir()}
    assert set(handed.values()) == {0o600}
    assert stat.S_IMODE(scene.directory.stat().st_mode) == 0o700
    loaded: set[str] = set()
    for unit in UNITS_OF_IT:
        text = (UNITS / f"{unit}.service").read_text()
        loaded |= set(re.findall(r"=[a-z.-]+:/run/agency-control/beside/%i/(\S+)", text))
    assert loaded == set(handed), "all that is handed is loaded, and nothing else"
    chat = (UNITS / "agency-agent-chat@.service").read_text()
    assert "control-token" not in chat, "a program does not decide on its own calls"


async def test_the_configurations_are_those_of_the_units(scene: Scene) -> None:
    await scene.hosted.open()
    gateway = GatewayConfig.model_validate_json(scene.read("gateway.json"))
    chat = ChatConfig.model_validate_json(scene.read("chat.json"))
    assert chat.gateway is not None
    assert chat.gateway.socket == gateway.socket
    assert scene.hosted.gateway_socket == gateway.control_socket
    assert chat.gosuto == gateway.state_dir / "policy.json"
    assert chat.waits
    work = WorkConfig.model_validate_json(scene.read("work.json"))
    assert (work.model, work.gateway, work.gosuto) == (chat.model, chat.gateway, chat.gosuto)
    assert (work.default_model, work.audit_socket) == (chat.default_model, chat.audit_socket)
    assert gateway.audit_socket == chat.audit_socket == Path("/run/a.sock")
    assert set(gateway.hidden) == {Path("/run/credentials"), Path("/var/lib/agency-rooms/pm")}
    made = (UNITS / "agency-agent-gateway@.service").read_text()
    assert re.findall("^SystemCallFilter=landlock_([a-z_]+)$", made, re.MULTILINE) == [
        "create_ruleset",
        "add_rule",
        "restrict_self",
    ], "else no tool server is started"
    for directory, root in (("Runtime", "/run"), ("State", "/var/lib")):
        (named,) = re.findall(rf"^{directory}Directory=(\S+)$", made, re.MULTILINE)
        place = Path(root) / named.replace("%i", "pm")
        assert place in {gateway.control_socket.parent, gateway.state_dir}
    (rooms,) = re.findall(
        r"^StateDirectory=(\S+)$",
        (UNITS / "agency-agent-chat@.service").read_text(),
        re.MULTILINE,
    )
    assert chat.state == Path("/var/lib") / rooms.replace("%i", "pm")


async def test_a_command_line_agent_is_a_unit_without_what_decides(scene: Scene) -> None:
    program = ProgramSettings(
        kind="command",
        model="small",
        agent="opencode",
        run=(Path("/opt/opencode/bin/opencode"),),
        own_tools="confined",
    )
    hosted = scene.make(program)
    await hosted.open()
    try:
        host = HostConfig.model_validate_json(scene.read("host.json"))
        chat = ChatConfig.model_validate_json(scene.read("chat.json"))
        text = (UNITS / "agency-agent-command@.service").read_text()
        loaded = set(re.findall(r"=([a-z.-]+):/run/agency-control/beside/%i/(\S+)", text))
        assert loaded == {(name, name) for name in ("gateway-token", "host.json", "model-token")}
        assert {host.model_token.name, host.gateway_token.name} == {"model-token", "gateway-token"}
        assert {host.model_token.parent, host.gateway_token.parent} == {
            Path("/run/credentials/agency-agent-command@pm.service")
        }
        assert isinstance(chat.command, CommandApart)
        assert chat.command.socket == host.listen
        assert host.caller == "agent-pm"
        assert host.command("small").own_tools == "confined"
        for directory, root, place in (
            ("Runtime", "/run", host.listen.parent),
            ("State", "/var/lib", host.workspace.parent),
        ):
            (named,) = re.findall(rf"^{directory}Directory=(\S+)$", text, re.MULTILINE)
            assert place == Path(root) / named.replace("%i", "pm")
        assert not (scene.directory / "work.json").exists()
        for line in ("DynamicUser=true", "PrivateNetwork=true", "ProtectHome=true"):
            assert f"\n{line}\n" in text
    finally:
        await hosted.close()
    assert not (scene.directory / "host.json").exists()


async def test_tokens_are_new_at_each_start_and_worthless_after_it(scene: Scene) -> None:
    seen: list[set[str]] = []
    for _ in range(2):
        await scene.hosted.open()
        held = {each.reveal() for each in scene.hosted.secrets()}
        assert len(held) == 4
        assert not seen or not held & seen[-1]
        seen.append(held)
        assert scene.digest.read_text() == sha256_hex(scene.read("model-token").encode())
        assert stat.S_IMODE(scene.digest.stat().st_mode) == 0o640, "its group is the proxy's"
        account = scene.read("matrix-token")
        await scene.hosted.close()
        assert account in scene.accounts.ended
        assert not scene.digest.exists()
        assert not scene.directory.exists()
        assert scene.hosted.secrets() == ()


async def test_a_homeserver_that_is_away_does_not_keep_the_agent_from_its_start(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.control.runtimes.beside.hosted._FIRST_S", 0.05)
    scene.accounts.away = True
    await scene.hosted.open()
    assert (scene.directory / "chat.json").exists()
    assert not (scene.directory / "matrix-token").exists()
    scene.accounts.away = False
    await scene.until((scene.directory / "matrix-token").exists)


async def test_an_account_that_was_logged_out_is_logged_in_again(scene: Scene) -> None:
    await scene.hosted.open()
    first = scene.read("matrix-token")
    scene.accounts.ended.add(first)
    await scene.until(lambda: scene.read("matrix-token") != first)
    assert scene.accounts.given[-1] == scene.read("matrix-token")


async def test_what_could_not_be_logged_out_is_before_the_next_log_in(scene: Scene) -> None:
    await scene.hosted.open()
    first = scene.read("matrix-token")
    scene.accounts.away = True
    await scene.hosted.close()
    assert not scene.digest.exists()
    assert [each.name for each in scene.directory.iterdir()] == ["matrix-token"]
    scene.accounts.away = False
    scene.hosted = scene.make()  # of another control plane
    await scene.hosted.open()
    assert scene.accounts.ended == {first}
    assert scene.read("matrix-token") != first


async def test_a_control_plane_that_comes_back_goes_on_with_what_is_there(scene: Scene) -> None:
    await scene.hosted.open()
    before = {each.reveal() for each in scene.hosted.secrets()}
    await scene.hosted.leave()
    assert scene.digest.exists(), "the agent goes on meanwhile"
    scene.hosted = scene.make()
    assert {each.reveal() for each in scene.hosted.secrets()} == before
    scene.hosted.attend()
    await asyncio.sleep(0.1)
    assert scene.accounts.given == [scene.read("matrix-token")], "it is still logged in"
    account = scene.read("matrix-token")
    await scene.hosted.close()
    assert account in scene.accounts.ended


async def test_an_agent_that_does_not_run_has_nothing_attended(scene: Scene) -> None:
    scene.hosted.attend()
    await asyncio.sleep(0.05)
    assert scene.accounts.given == []


class Push:
    def __init__(self, place: Path, *, refuses: bool = False) -> None:
        self.place, self.refuses = place, refuses
        self.there: list[bool] = []

    async def apply(self, agent: str, document: bytes, trace: str) -> bool:
        self.there.append((self.place / f"{agent}.json").exists())
        if self.refuses:
            raise AgencyError("it refuses the document")
        return True


async def test_the_proxy_gets_a_copy_of_what_an_agent_holds(tmp_path: Path) -> None:
    inner = Push(tmp_path)
    push = SharedPush(inner, tmp_path)
    assert await push.apply("pm", b"one", "t")
    assert await push.apply("pm", b"two", "t")
    assert inner.there == [True, True], "no model is asked by an agent of which the proxy has none"
    assert (tmp_path / "pm.json").read_bytes() == b"two"
    assert stat.S_IMODE((tmp_path / "pm.json").stat().st_mode) == 0o640
    inner.refuses = True
    with pytest.raises(AgencyError):
        await push.apply("pm", b"three", "t")
    assert (tmp_path / "pm.json").read_bytes() == b"two", "that is what it holds"
    with pytest.raises(AgencyError):
        await push.apply("../pm", b"four", "t")
