"""The runtime `docker` beyond the interface: restarts, images, foreign containers, faults."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_containers import PYTHON, AgentsEngine

from agency.control.acp_client import AcpClient, AcpUnreachableError
from agency.control.runtimes.base import AgentRuntimeError, State
from agency.control.runtimes.docker.runtime import DockerRuntime
from agency.docker import DockerError
from agency.errors import PrerequisiteError
from agency.protocols import REDEEM_SOCKET

pytestmark = pytest.mark.docker

Make = Callable[..., DockerRuntime]

PARENT = """
import asyncio, json, sys
from pathlib import Path
from agency.control.runtimes.base import StartRequest
from agency.control.runtimes.docker.runtime import DockerRuntime
from agency.control.runtimes.docker.settings import DockerSettings

async def main():
    place = Path(sys.argv[1])
    runtime = DockerRuntime(
        DockerSettings(**json.loads(sys.argv[2])), instance="test",
        directory=place / "containers", logs=place / "logs", port_of=lambda _: 20001,
        redeem=lambda agent: place / "redeem" / agent / "redeem.sock",
    )
    status = await runtime.start(StartRequest("pm", "pm", None, "trace-1"))
    print(status.handle, runtime.endpoint("pm").token, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_control_plane_finds_its_agent_again(
    make_contained: Make, containers: AgentsEngine, request_for, healthy, tmp_path: Path
) -> None:
    settings = containers.settings().model_dump_json()
    argv = [sys.executable, "-c", PARENT, str(tmp_path), settings]
    parent = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it waits
    try:
        handle, token = (await asyncio.to_thread(parent.stdout.readline)).split()
    finally:
        parent.kill()
        parent.communicate()
    assert parent.returncode == -signal.SIGKILL
    assert containers.running() == (handle,)

    runtime = make_contained()
    assert [each.name for each in await runtime.list()] == ["pm"]
    status = await runtime.status("pm")
    assert (status.state, status.handle) == (State.RUNNING, handle)
    assert runtime.endpoint("pm").token == token
    await healthy(runtime, "pm")
    assert await runtime.start(request_for("pm")) == status
    assert containers.running() == (handle,)


async def test_many_looks_at_once_open_one_endpoint(
    make_contained: Make, containers: AgentsEngine, request_for, healthy
) -> None:
    """Also while it starts, and when it is found again by another control plane."""
    runtime, request = make_contained(), request_for("pm")

    async def look() -> None:
        for _ in range(5):
            await runtime.status("pm")

    await asyncio.gather(runtime.start(request), *(look() for _ in range(10)))
    await healthy(runtime, "pm")
    await runtime.close()
    again = make_contained()
    seen = await asyncio.gather(*(again.status("pm") for _ in range(20)))
    assert {status.state for status in seen} == {State.RUNNING}
    await healthy(again, "pm")
    assert _open_files() == 3, "two sockets that listen, and their directory"
    await again.stop("pm")
    assert _open_files() == 0


def _open_files() -> int:
    """Number of a relay's descriptors: sockets that listen, and directories of theirs."""
    links = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    sockets = Path("/proc/net/unix").read_text()
    listening = {
        f"socket:[{row.split()[6]}]"
        for row in sockets.splitlines()[1:]
        if row.split()[3] == "00010000"
    }
    return sum(link in listening or link.endswith("/containers") for link in links)


async def test_two_control_planes_never_run_an_agent_twice(
    make_contained: Make, containers: AgentsEngine, request_for
) -> None:
    """They share a directory only by mistake; then the engine's names decide."""
    request = request_for("pm")
    ends = await asyncio.gather(
        *(make_contained().start(request) for _ in range(3)), return_exceptions=True
    )
    assert any(not isinstance(end, BaseException) for end in ends)
    assert len(containers.running()) <= 1


@pytest.mark.parametrize("running", [True, False])
async def test_a_foreign_container_of_that_name_is_left_alone(
    make_contained: Make, containers: AgentsEngine, request_for, running: bool
) -> None:
    runtime = make_contained()
    how = ["run", "--detach"] if running else ["create"]
    named = ("--name=agency-test-pm", "--label=agency.agent=pm", f"--entrypoint={PYTHON}")
    sleep = (containers.image, "-c", "import time; time.sleep(600)")
    foreign = containers.cli(*how, *named, *sleep)
    assert (await runtime.status("pm")).state is State.STOPPED
    assert (await runtime.stop("pm")).state is State.STOPPED
    assert await runtime.list() == ()
    assert await runtime.log_tail("pm", 10) == ()
    with pytest.raises(AgentRuntimeError, match="a container of somebody else"):
        await runtime.start(request_for("pm"))
    assert containers.engine.inspect("container", foreign)["State"]["Running"] is running
    assert runtime.secrets() == ()


async def test_a_foreign_volume_of_that_name_is_left_alone(
    make_contained: Make, containers: AgentsEngine, request_for
) -> None:
    containers.cli("volume", "create", "agency-test-pm-state")
    with pytest.raises(AgentRuntimeError, match="a volume of somebody else"):
        await make_contained().start(request_for("pm"))
    assert containers.cli("ps", "-aq") == ""
    assert containers.cli("volume", "ls", "-q") == "agency-test-pm-state"


async def test_agents_of_another_instance_are_not_seen(
    make_contained: Make, containers: AgentsEngine, request_for, tmp_path: Path, ports
) -> None:
    one = make_contained()
    other = containers.runtime(tmp_path / "other", ports.__getitem__, instance="other")
    try:
        for runtime in (one, other):
            await runtime.start(request_for("pm"))
        assert len(containers.running()) == 2
        await other.stop("pm")
        assert (await one.status("pm")).state is State.RUNNING
        assert [each.state for each in await one.list()] == [State.RUNNING]
    finally:
        await other.close()


async def test_it_reaches_the_socket_at_which_it_redeems_its_secrets(
    make_contained: Make, containers: AgentsEngine, request_for, tmp_path: Path
) -> None:
    """Also one that the control plane opens after the agent was started."""
    status = await make_contained().start(request_for("pm"))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"a value")
        writer.close()

    path = tmp_path / "redeem" / "pm" / REDEEM_SOCKET
    server = await asyncio.start_unix_server(answer, str(path))
    path.chmod(0o666)
    code = (
        "import json, socket\n"
        "path = json.load(open('/run/agency/agent.json'))['redeem_socket']\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(path); print(s.recv(99).decode())\n"
        "open(path + '.more', 'w')\n"
    )
    exit_status, said = await asyncio.to_thread(containers.inside, status.handle, code)
    server.close()
    assert said.splitlines()[0] == "a value", said
    assert exit_status == 1
    assert "Read-only file system" in said


async def test_state_outlives_its_container(
    make_contained: Make, containers: AgentsEngine, request_for
) -> None:
    runtime, request = make_contained(), request_for("pm")
    first = await runtime.start(request)
    mark = "open('/var/lib/agency/mark', 'w').write('kept'); open('/tmp/mark', 'w').write('x')"
    assert containers.inside(first.handle, mark) == (0, "")
    second = await runtime.restart(request)
    assert second.handle != first.handle
    look = "import os; print(open('/var/lib/agency/mark').read(), os.listdir('/tmp'))"
    assert containers.inside(second.handle, look) == (0, "kept []")


async def test_who_is_removed_leaves_no_state_to_the_next_of_its_name(
    make_contained: Make, containers: AgentsEngine, request_for, tmp_path: Path
) -> None:
    runtime, request = make_contained(), request_for("pm")
    first = await runtime.start(request)
    mark = "open('/var/lib/agency/mark', 'w').write('kept')"
    assert containers.inside(first.handle, mark) == (0, "")
    await runtime.start(request_for("developer"))
    await runtime.remove("pm")
    assert [each.name for each in await runtime.list()] == ["developer"]
    assert containers.cli("volume", "ls", "-q", "--filter", "label=agency.agent=pm") == ""
    assert containers.cli("volume", "ls", "-q", "--filter", "label=agency.agent=developer")
    assert not (tmp_path / "containers" / "pm").exists()
    again = await runtime.start(request)
    look = "import os; print(os.listdir('/var/lib/agency'))"
    assert containers.inside(again.handle, look) == (0, "[]")


async def test_a_foreign_volume_is_not_removed(
    make_contained: Make, containers: AgentsEngine
) -> None:
    containers.cli("volume", "create", "agency-test-pm-state")
    await make_contained().remove("pm")
    assert containers.cli("volume", "ls", "-q") == "agency-test-pm-state"


async def test_the_token_is_gone_after_a_stop(
    make_contained: Make, request_for, healthy, tmp_path: Path
) -> None:
    runtime = make_contained()
    await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")
    place = tmp_path / "containers" / "pm"
    token = (place / "acp-token").read_text()
    await runtime.stop("pm")
    assert not (place / "acp-token").exists()
    assert runtime.secrets() == ()
    log = await runtime.log_tail("pm", 100)
    assert log
    assert not any(token in line for line in log)


async def test_an_agent_without_its_token_is_started_anew(
    make_contained: Make, containers: AgentsEngine, request_for, healthy, tmp_path: Path
) -> None:
    """As when the directory of tokens, which is in memory, was lost."""
    runtime, request = make_contained(), request_for("pm")
    first = await runtime.start(request)
    (tmp_path / "containers" / "pm" / "acp-token").unlink()
    second = await make_contained().start(request)
    assert second.handle != first.handle
    assert containers.running() == (second.handle,)


async def test_an_agent_that_ignores_sigterm_is_killed(
    make_contained: Make, containers: AgentsEngine, request_for, until
) -> None:
    stubborn = containers.import_program(
        "stubborn:1", "trap '' TERM; echo ready; while :; do sleep 1; done"
    )
    runtime = make_contained(settings=stubborn, stop_timeout_s=1)
    await runtime.start(request_for("pm"))

    async def ready() -> bool:
        return await runtime.log_tail("pm", 10) == ("ready",)

    await until(ready)
    status = await runtime.stop("pm")
    assert (status.state, status.exit_status) == (State.STOPPED, -signal.SIGKILL)
    assert containers.running() == ()


async def test_a_crash_at_start_says_why_without_the_token(
    make_contained: Make, containers: AgentsEngine, request_for, until
) -> None:
    broken = containers.import_program(
        "broken:1", 'echo "cannot use $(cat $CREDENTIALS_DIRECTORY/acp-token)"; exit 7'
    )
    runtime = make_contained(settings=broken)
    await runtime.start(request_for("pm"))

    async def failed() -> bool:
        return (await runtime.status("pm")).state is State.FAILED

    await until(failed)
    status = await runtime.status("pm")
    assert (status.exit_status, status.detail) == (7, "exit status 7: cannot use [***]")
    assert runtime.endpoint("pm") is None


async def test_a_start_that_fails_leaves_nothing(
    make_contained: Make, containers: AgentsEngine, request_for, healthy, tmp_path: Path
) -> None:
    refused = {
        "Range of CPUs": containers.settings(cpus=1000),  # when it is created
        "not a directory": containers.import_program("odd:1", "exit", {"run/agency": b""}),
    }
    for reason, settings in refused.items():
        with pytest.raises(DockerError, match=reason):
            await make_contained(settings=settings).start(request_for("pm"))
        assert containers.cli("ps", "-aq") == ""
        assert not (tmp_path / "containers" / "pm" / "acp-token").exists()
    runtime = make_contained()
    assert (await runtime.status("pm")).state is State.STOPPED
    await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")


async def test_an_agent_that_was_removed_has_failed(
    make_contained: Make, containers: AgentsEngine, request_for, until
) -> None:
    runtime = make_contained()
    status = await runtime.start(request_for("pm"))
    containers.cli("rm", "--force", status.handle)

    async def gone() -> bool:
        return runtime.endpoint("pm") is None

    await until(gone)
    status = await runtime.status("pm")
    assert (status.state, status.detail) == (State.FAILED, "its container is gone")
    assert (await runtime.start(request_for("pm"))).state is State.RUNNING


async def test_a_start_that_was_interrupted_is_told_and_made_anew(
    make_contained: Make, containers: AgentsEngine, request_for, tmp_path: Path
) -> None:
    """As when the control plane is killed after a container was made and before it started."""
    runtime = make_contained()
    labels = ("--label=agency.instance=test", "--label=agency.agent=pm")
    containers.cli("create", "--name=agency-test-pm", *labels, containers.image)
    token = tmp_path / "containers" / "pm" / "acp-token"
    token.parent.mkdir(parents=True)
    token.write_text("old")
    status = await runtime.status("pm")
    assert status.state is State.FAILED
    assert status.detail == "its container was made and never started"
    assert runtime.endpoint("pm") is None
    assert (await runtime.start(request_for("pm"))).state is State.RUNNING
    assert token.read_text() != "old"
    assert len(containers.running()) == 1


async def test_a_memory_hog_says_that_memory_ended(
    make_contained: Make, containers: AgentsEngine, request_for, until
) -> None:
    hog = containers.import_program("hog:1", "sleep 0.2; x=x; while :; do x=$x$x; done")
    runtime = make_contained(settings=hog.model_copy(update={"memory_mib": 64}))
    await runtime.start(request_for("pm"))

    async def failed() -> bool:
        return (await runtime.status("pm")).state is State.FAILED

    await until(failed)
    assert "out of memory" in (await runtime.status("pm")).detail


async def test_a_restarted_engine_is_survived(
    make_contained: Make, containers: AgentsEngine, request_for, healthy, acp: AcpClient, until
) -> None:
    runtime, request = make_contained(), request_for("pm")
    first = await runtime.start(request)
    await healthy(runtime, "pm")
    endpoint = runtime.endpoint("pm")
    await asyncio.to_thread(containers.engine.stop)
    try:

        async def noticed() -> bool:
            return runtime.endpoint("pm") is None

        await until(noticed)
        for look in (runtime.status("pm"), runtime.list(), runtime.usage("pm"), runtime.stop("pm")):
            with pytest.raises(PrerequisiteError) as caught:
                await look
            assert "systemctl start docker" in caught.value.hint
        assert len(runtime.secrets()) == 1, "a stop that failed was not a stop"
        with pytest.raises(AcpUnreachableError):
            await acp.health(endpoint, "trace-2")
    finally:
        await asyncio.to_thread(containers.engine.start)
    status = await runtime.status("pm")
    assert (status.state, status.handle) == (State.FAILED, None)
    second = await runtime.start(request)
    assert second.handle != first.handle
    await healthy(runtime, "pm")
    assert containers.running() == (second.handle,)


async def test_its_labels_name_it_and_its_configuration(
    make_contained: Make, containers: AgentsEngine, request_for
) -> None:
    runtime, request = make_contained(), request_for("pm")

    async def labels() -> dict[str, str]:
        status = await runtime.restart(request)
        return json.loads(
            containers.cli("inspect", "--format={{json .Config.Labels}}", status.handle)
        )

    first = await labels()
    assert (first["agency.instance"], first["agency.agent"]) == ("test", "pm")
    assert first["agency.trace"] == request.trace
    assert (await labels())["agency.config"] == first["agency.config"]
    await runtime.close()
    runtime = make_contained(settings=containers.settings(pids=99))
    assert (await labels())["agency.config"] != first["agency.config"]
