"""What runs beside an agent of the runtime `process`: its order, its end, and its faults."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agency.children import stat_fields
from agency.clock import Clock
from agency.control.runtimes.base import State
from agency.control.runtimes.process import ProcessRuntime
from agency.errors import AgencyError
from agency.protocols import GATEWAY_CONTROL_TOKEN
from agency.secrets import SecretValue

SOCKET = Path("gateway/control.sock")


class Programs:
    """Stand-in for the programs of an agent; writes down what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.is_open = False
        self.fails = False

    gateway_socket = SOCKET

    async def open(self, credentials: Path) -> None:
        self.calls.append("open")
        if self.fails:
            raise AgencyError("no space left")
        (credentials / GATEWAY_CONTROL_TOKEN).write_text("x" * 20)
        self.is_open = True

    async def close(self, timeout_s: float) -> None:
        if self.is_open:
            self.calls.append("close")
        self.is_open = False

    def pids(self) -> tuple[int, ...]:
        return (os.getsid(0),) if self.is_open else ()

    def secrets(self) -> tuple[SecretValue, ...]:
        return (SecretValue("a token of a program"),) if self.is_open else ()


@pytest.fixture
def programs() -> Programs:
    return Programs()


@pytest.fixture
async def runtime(
    tmp_path: Path, ports: dict[str, int], programs: Programs
) -> AsyncIterator[ProcessRuntime]:
    """A runtime in which pm has programs, and whose agents only stay."""
    stays = tmp_path / "python"
    stays.write_text("#!/bin/sh\nexec sleep 60\n")
    stays.chmod(0o755)
    made = ProcessRuntime(
        tmp_path / "state",
        clock=Clock(),
        port_of=ports.__getitem__,
        python=str(stays),
        besides=lambda name, _directory, _marker: programs if name == "pm" else None,
    )
    yield made
    await made.close()


def config(tmp_path: Path, agent: str) -> dict[str, Any]:
    return dict(json.loads((tmp_path / "state/agents" / agent / "agent.json").read_text()))


async def test_programs_begin_before_the_process_and_end_with_it(
    runtime: ProcessRuntime, programs: Programs, request_for: Any, tmp_path: Path
) -> None:
    await runtime.start(request_for("pm"))
    assert programs.calls == ["open"]
    assert config(tmp_path, "pm")["gateway_socket"] == str(SOCKET)
    assert "a token of a program" in {each.reveal() for each in runtime.secrets()}
    await runtime.start(request_for("pm"))  # it runs
    assert programs.calls == ["open"]
    await runtime.restart(request_for("pm"))
    await runtime.stop("pm")
    assert not programs.is_open
    await runtime.stop("pm")
    assert programs.calls == ["open", "close", "open", "close"]
    assert len(runtime.secrets()) == 0


async def test_their_memory_is_the_agent_s(
    runtime: ProcessRuntime, programs: Programs, request_for: Any
) -> None:
    await runtime.start(request_for("pm"))
    both = (await runtime.usage("pm")).memory
    programs.is_open = False
    alone = (await runtime.usage("pm")).memory
    programs.is_open = True
    assert both is not None
    assert alone is not None
    assert both > alone > 0


async def test_an_agent_without_programs_has_nothing_of_them(
    runtime: ProcessRuntime, programs: Programs, request_for: Any, tmp_path: Path
) -> None:
    await runtime.start(request_for("developer"))
    assert programs.calls == []
    assert config(tmp_path, "developer")["gateway_socket"] is None
    files = {each.name for each in (tmp_path / "state/agents/developer").rglob("*")}
    assert files == {"agent.json", "log", "credentials", "acp-token"}


async def test_programs_end_when_the_process_dies(
    runtime: ProcessRuntime, programs: Programs, request_for: Any, until: Callable[..., Any]
) -> None:
    status = await runtime.start(request_for("pm"))
    assert status.handle is not None
    os.kill(int(status.handle), signal.SIGKILL)

    async def ended() -> bool:
        return programs.calls == ["open", "close"]

    await until(ended)
    assert (await runtime.status("pm")).state is State.FAILED


async def test_started_again_before_its_end_was_dealt_with_they_are_new(
    runtime: ProcessRuntime, programs: Programs, request_for: Any
) -> None:
    status = await runtime.start(request_for("pm"))
    assert status.handle is not None
    os.kill(int(status.handle), signal.SIGKILL)
    while stat_fields(int(status.handle))[0] != "Z":  # without a turn for the runtime's own tasks
        time.sleep(0.001)  # noqa: ASYNC251
    assert (await runtime.start(request_for("pm"))).state is State.RUNNING
    await asyncio.sleep(0.1)  # now the old end is dealt with
    assert programs.calls == ["open", "close", "open"]
    assert programs.is_open


async def test_a_start_that_fails_leaves_nothing_of_them(
    runtime: ProcessRuntime, programs: Programs, request_for: Any, tmp_path: Path
) -> None:
    programs.fails = True
    with pytest.raises(AgencyError, match="no space left"):
        await runtime.start(request_for("pm"))
    assert not programs.is_open
    assert not [*(tmp_path / "state/agents/pm/credentials").iterdir()]
    programs.fails = False
    (tmp_path / "python").unlink()
    with pytest.raises(AgencyError, match="does not exist"):
        await runtime.start(request_for("pm"))
    assert not programs.is_open
    assert programs.calls == ["open", "open", "close"]
