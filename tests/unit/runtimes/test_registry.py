"""Every agent is in the runtime that it is set to; only what is named is made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agency.clock import Clock
from agency.control.config import ControlConfig
from agency.control.runtimes.base import Endpoint, RuntimeStatus, StartRequest, State, Usage
from agency.control.runtimes.registry import FACTORIES, RuntimePerAgent, RuntimeSettings
from agency.control.service.startup import open_runtimes
from agency.errors import PrerequisiteError
from agency.secrets.values import SecretValue


class NotedRuntime:
    """A runtime that notes what it is asked."""

    def __init__(self, kind: str, error: Exception | None = None) -> None:
        self.kind = kind
        self.error = error
        self.asked: list[str] = []
        self.closed = False

    def kind_of(self, _name: str) -> str:
        return self.kind

    def _seen(self, name: str) -> RuntimeStatus:
        self.asked.append(name)
        return RuntimeStatus(name, State.RUNNING, f"{self.kind}-{name}", handle_name="box")

    async def start(self, request: StartRequest) -> RuntimeStatus:
        return self._seen(request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        return self._seen(name)

    async def remove(self, name: str) -> None:
        self._seen(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        return self._seen(request.name)

    async def status(self, name: str) -> RuntimeStatus:
        return self._seen(name)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        return tuple(RuntimeStatus(name, State.RUNNING) for name in dict.fromkeys(self.asked))

    async def usage(self, name: str) -> Usage:
        self.asked.append(name)
        return Usage(memory=len(self.kind))

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        self.asked.append(name)
        return (self.kind,) * lines

    def secrets(self) -> tuple[SecretValue, ...]:
        return (SecretValue(f"token of {self.kind}"),)

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint(f"http://{self.kind}.example", "token", name)

    async def close(self) -> None:
        self.closed = True
        if self.error is not None:
            raise self.error


IMAGE = {"image": "agency-agent:0.1.0", "image_id": "sha256:" + "a" * 64}


def config(
    tmp_path: Path, docker: dict[str, str] | None = None, /, **agents: str | None
) -> ControlConfig:
    return ControlConfig.model_validate(
        {
            "instance": "test",
            "domain": "x.org",
            "homeserver_url": "http://127.0.0.1:1",
            "listen_port": 1,
            "bot_id": "@agency:x.org",
            "control_room_alias": "#control:x.org",
            "operators": ["@alice:x.org"],
            "agents": [
                {
                    "name": name,
                    "role": name,
                    "matrix_id": f"@agent-{name}:x.org",
                    "port": 20001 + n,
                    **({} if runtime is None else {"runtime": runtime}),
                }
                for n, (name, runtime) in enumerate(agents.items())
            ],
            "database_url": "sqlite+aiosqlite:///x",
            "state_dir": str(tmp_path),
            "runtime": "process",
            "docker": docker,
        }
    )


def opened(
    config: ControlConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, dict[str, NotedRuntime]]:
    made: dict[str, NotedRuntime] = {}

    def factory(kind: str) -> Any:
        def make(_settings: RuntimeSettings) -> NotedRuntime:
            made[kind] = NotedRuntime(kind)
            return made[kind]

        return make

    for kind in ("process", "systemd"):
        monkeypatch.setitem(FACTORIES, kind, factory(kind))
    return open_runtimes(config, Clock()), made


def test_a_name_without_a_factory_is_refused_by_the_configuration(tmp_path: Path) -> None:
    for name in FACTORIES:
        assert config(tmp_path, IMAGE, pm=name).agents[0].runtime == name
    with pytest.raises(ValidationError) as caught:
        config(tmp_path, pm="podman")
    (error,) = caught.value.errors()
    assert error["loc"] == ("agents", 0, "runtime")
    assert error["msg"] == "Input should be " + " or ".join(map(repr, FACTORIES))
    assert "'process' or 'systemd'" in error["msg"]


async def test_an_agent_is_in_its_own_runtime_and_all_others_in_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, made = opened(config(tmp_path, pm=None, dev="systemd"), monkeypatch)
    for name, kind in (("pm", "process"), ("dev", "systemd")):
        request = StartRequest(name, name, None, "t-1")
        assert runtime.kind_of(name) == kind
        for status in (
            await runtime.start(request),
            await runtime.restart(request),
            await runtime.status(name),
            await runtime.stop(name),
        ):
            assert status.handle == f"{kind}-{name}"
        assert await runtime.usage(name) == Usage(memory=len(kind))
        assert await runtime.log_tail(name, 2) == (kind, kind)
        assert runtime.endpoint(name).url == f"http://{kind}.example"
        assert set(made[kind].asked) == {name}
    assert [status.name for status in await runtime.list()] == ["dev", "pm"]
    tokens = [secret.reveal() for secret in runtime.secrets()]
    assert tokens == ["token of process", "token of systemd"]


def test_only_what_is_named_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(opened(config(tmp_path, pm=None), monkeypatch)[1]) == ["process"]
    assert list(opened(config(tmp_path, pm="process"), monkeypatch)[1]) == ["process"]
    assert list(opened(config(tmp_path, pm="systemd"), monkeypatch)[1]) == ["process", "systemd"]


async def test_all_are_closed_though_one_fails() -> None:
    first, second = NotedRuntime("a", OSError("gone")), NotedRuntime("b")
    with pytest.raises(OSError, match="gone"):
        await RuntimePerAgent({"a": first, "b": second}, {}, "a").close()
    assert first.closed
    assert second.closed


def test_a_container_needs_an_image(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="make agent-image"):
        config(tmp_path, pm="docker")
    assert config(tmp_path, IMAGE, pm="docker").docker is not None
    assert config(tmp_path, pm="process").docker is None
    settings = RuntimeSettings(tmp_path, {}, stop_timeout_s=1, clock=Clock())
    with pytest.raises(PrerequisiteError) as caught:
        FACTORIES["docker"](settings)
    assert "make agent-image" in (caught.value.hint or "")


async def test_containers_are_of_their_instance_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two control planes with one instance's name share nothing; one finds its own again."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    names = []
    for place in ("one", "two", "one"):
        chosen = config(tmp_path / place, IMAGE, pm="docker")
        runtime: Any = open_runtimes(chosen, Clock())
        assert runtime.kind_of("pm") == "docker"
        names.append(runtime._of("pm")._engine.identity("pm").container)
        await runtime.close()
    assert names[0] == names[2] != names[1]
    assert all(name.startswith("agency-test-") for name in names)


def test_systemd_needs_the_directory_of_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    wanted = config(tmp_path, pm="systemd")
    with pytest.raises(PrerequisiteError, match=r"\$RUNTIME_DIRECTORY"):
        open_runtimes(wanted, Clock())
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert open_runtimes(wanted, Clock()).kind_of("pm") == "systemd"


def test_a_handle_is_told_by_its_name() -> None:
    pid = RuntimeStatus("pm", State.RUNNING, "42")
    assert (pid.known_as, pid.handle_detail) == ("pid 42", {"pid": 42})
    box = RuntimeStatus("pm", State.RUNNING, "3f9a", handle_name="container")
    assert (box.known_as, box.handle_detail) == ("container 3f9a", {"container": "3f9a"})
    assert RuntimeStatus("pm", State.STOPPED).handle_detail == {"pid": None}


class StuckRuntime(NotedRuntime):
    """A runtime that does not end its agents in time."""

    async def close(self) -> None:
        self.closed = True
        await asyncio.Event().wait()


async def test_a_limit_on_closing_holds_though_no_runtime_closes() -> None:
    runtimes = {"process": StuckRuntime("process"), "systemd": StuckRuntime("systemd")}
    both = RuntimePerAgent(runtimes, {}, "process")

    async def close() -> None:
        async with asyncio.timeout(0.05):
            await both.close()

    ending = asyncio.create_task(close())
    done, _ = await asyncio.wait([ending], timeout=5)
    ending.cancel()
    assert done, "the first runtime used up the only cancellation"
    assert isinstance(ending.exception(), TimeoutError)
    assert all(runtime.closed for runtime in runtimes.values())
