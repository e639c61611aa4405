"""The image of agents in containers: made by `make agent-image`, and fixed by its id."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from agent_containers import ROOT, AgentsEngine, give_image

from agency.control.runtimes.base import AgentRuntimeError, State
from agency.control.runtimes.docker.runtime import DockerRuntime
from agency.errors import PrerequisiteError

pytestmark = pytest.mark.docker

Make = Callable[..., DockerRuntime]


async def test_an_image_that_moved_is_refused(
    make_contained: Make, containers: AgentsEngine, request_for, healthy
) -> None:
    runtime, request = make_contained(), request_for("pm")
    running = await runtime.start(request)
    await healthy(runtime, "pm")
    other = containers.import_program("other:1", "exit 0")
    containers.cli("tag", other.image_id, containers.image)
    try:
        for name in ("developer", "pm"):
            with pytest.raises(AgentRuntimeError, match=r"is sha256:.*, not sha256:") as caught:
                await runtime.restart(replace(request, name=name))
            assert other.image_id in caught.value.message
            assert containers.image_id in caught.value.message
            assert "imageId" in caught.value.hint
        assert (await runtime.status("developer")).state is State.STOPPED
        assert await runtime.status("pm") == running
    finally:
        containers.cli("tag", containers.image_id, containers.image)
    assert (await runtime.restart(request)).handle != running.handle


async def test_an_image_that_is_missing_is_named(
    make_contained: Make, containers: AgentsEngine, request_for
) -> None:
    runtime = make_contained(settings=containers.settings(image="agency-agent:0.0.0"))
    with pytest.raises(
        PrerequisiteError, match=r"agency-agent:0\.0\.0 is not on this machine"
    ) as caught:
        await runtime.start(request_for("pm"))
    assert "make agent-image" in caught.value.hint
    assert containers.cli("ps", "-aq") == ""


def test_the_image_is_the_same_whoever_makes_it(
    containers: AgentsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made again without the cache; the engine computes the same id."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "image.tar"
    argv = [sys.executable, "-m", "agentimage", "--docker-host", "unix:///none"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tools"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*argv, "--output", str(file)], env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"imageId: {containers.image_id}" in done.stdout
    assert containers.engine.inspect("image", containers.image)["Id"] == containers.image_id
    assert "docker load" in done.stdout + done.stderr


def test_the_image_holds_no_shell_and_nothing_that_gives_rights(containers: AgentsEngine) -> None:
    code = (
        "import os, stat\n"
        "for top, _, files in os.walk('/'):\n"
        "    if top.startswith(('/proc', '/sys')): continue\n"
        "    for file in files:\n"
        "        path = os.path.join(top, file)\n"
        "        mode = os.lstat(path).st_mode\n"
        "        if mode & 0o6000: print('rights', path)\n"
        "        if stat.S_ISREG(mode) and mode & 0o111 and open(path, 'rb').read(4) == b'\\x7fELF'"
        " and '.so' not in file: print(path)\n"
    )
    status, said = containers.outside(code)
    assert status == 0, said
    assert set(said.splitlines()) == {
        f"/opt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]}",
        # They start an agent's tool servers, and give nothing to who has no capability.
        "/opt/agency/bin/setpriv",
        "/opt/agency/bin/prlimit",
    }


async def test_the_weekly_clean_up_leaves_the_image_and_agents_that_are_stopped(
    make_contained: Make, containers: AgentsEngine, request_for, healthy
) -> None:
    """With the flags of modules/swarm.nix; the control lacks the one that protects."""
    declared = re.search(r"flags = \[(.*?)\]", (ROOT / "modules/swarm.nix").read_text(), re.S)
    flags = re.findall(r'"(--[^"]+)"', declared[1])
    protecting = [flag for flag in flags if "label" in flag]
    runtime = make_contained()
    await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")
    await runtime.stop("pm")
    # Of the containers, those that ended before now count; of the image, that it has no date.
    sooner = [flag.replace("168h", "0h") for flag in flags]
    await asyncio.sleep(1.1)  # the engine compares whole seconds
    containers.cli("system", "prune", "--force", *sooner)
    assert await runtime.log_tail("pm", 100)
    assert (await runtime.start(request_for("pm"))).state is State.RUNNING
    await runtime.stop("pm")

    await asyncio.sleep(1.1)
    containers.cli("system", "prune", "--force", *(f for f in sooner if f not in protecting))
    with pytest.raises(PrerequisiteError, match="not on this machine"):
        await runtime.start(request_for("pm"))
    assert await asyncio.to_thread(give_image, containers.engine) == (
        containers.image,
        containers.image_id,
    )
