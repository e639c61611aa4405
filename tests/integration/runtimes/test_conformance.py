"""What every runtime must do, whatever it runs agents with."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agency.canonical import sha256_hex
from agency.control.acp_client import AcpClient, AcpError, AcpUnreachableError
from agency.control.runtimes.base import (
    MAX_LOG_LINES,
    AgentRuntimeError,
    Endpoint,
    Runtime,
    StartRequest,
    State,
    Usage,
)
from agency.gosuto import canonical, load_template

NEVER_STARTED = "developer"
MIB = 1024 * 1024
NEVER_WROTE = "tester"  # no test starts it, so that no journal has a line of it


async def test_start_is_idempotent(bench, request_for, healthy) -> None:
    request = request_for("pm")
    first = await bench.runtime.start(request)
    assert first.name == "pm"
    assert first.state is State.RUNNING
    assert first.handle is not None
    assert first.started_at is not None
    await healthy(bench.runtime, "pm")
    processes = bench.processes()
    assert await bench.runtime.start(replace(request, trace="trace-2")) == first
    assert await bench.runtime.status("pm") == first
    assert bench.processes() == processes


async def test_concurrent_starts_start_one(bench, request_for, healthy) -> None:
    request = request_for("pm")
    seen = await asyncio.gather(*(bench.runtime.start(request) for _ in range(8)))
    assert len({status.handle for status in seen}) == 1
    await healthy(bench.runtime, "pm")
    assert bench.processes() == (seen[0].handle,)


async def test_concurrent_starts_and_stops_leave_one_of_both(bench, request_for) -> None:
    request = request_for("pm")
    await asyncio.gather(
        *(
            bench.runtime.start(request) if turn % 2 else bench.runtime.stop("pm")
            for turn in range(10)
        )
    )
    status = await bench.runtime.status("pm")
    assert status.state in (State.RUNNING, State.STOPPED)
    assert bench.processes() == ((status.handle,) if status.handle else ())


async def test_a_start_during_a_stop_starts_anew(bench, request_for, healthy) -> None:
    request = request_for("pm")
    first = await bench.runtime.start(request)
    await healthy(bench.runtime, "pm")
    stopped, started = await asyncio.gather(bench.runtime.stop("pm"), bench.runtime.start(request))
    assert stopped.state is State.STOPPED
    assert started.state is State.RUNNING
    assert started.handle != first.handle
    await healthy(bench.runtime, "pm")
    assert bench.processes() == (started.handle,)


async def test_stop_is_idempotent(bench, request_for, healthy) -> None:
    await bench.runtime.start(request_for("pm"))
    await healthy(bench.runtime, "pm")
    for _ in range(2):
        status = await bench.runtime.stop("pm")
        assert (status.state, status.handle, status.detail) == (State.STOPPED, None, None)
    assert (await bench.runtime.status("pm")).state is State.STOPPED
    assert bench.processes() == ()


async def test_an_agent_that_was_never_started_is_stopped(bench) -> None:
    assert (await bench.runtime.status(NEVER_STARTED)).state is State.STOPPED
    assert (await bench.runtime.stop(NEVER_STARTED)).state is State.STOPPED
    assert bench.runtime.endpoint(NEVER_STARTED) is None
    assert await bench.runtime.list() == ()


async def test_a_killed_agent_has_failed(bench, request_for, healthy, until) -> None:
    await bench.runtime.start(request_for("pm"))
    await healthy(bench.runtime, "pm")
    await bench.kill("pm")

    async def failed() -> bool:
        return (await bench.runtime.status("pm")).state is State.FAILED

    await until(failed)
    status = await bench.runtime.status("pm")
    assert status.handle is None
    assert status.exit_status not in (None, 0)
    assert status.detail is not None
    assert "SIGKILL" in status.detail
    assert "\n" not in status.detail
    assert bench.runtime.endpoint("pm") is None

    assert (await bench.runtime.stop("pm")).state is State.STOPPED, "a person has taken note"
    assert (await bench.runtime.status("pm")).state is State.STOPPED


async def test_a_failed_agent_can_be_started(bench, request_for, healthy, until) -> None:
    request = request_for("pm")
    await bench.runtime.start(request)
    await healthy(bench.runtime, "pm")
    await bench.kill("pm")

    async def ended() -> bool:
        return bench.runtime.endpoint("pm") is None

    await until(ended)
    assert (await bench.runtime.start(request)).state is State.RUNNING
    await healthy(bench.runtime, "pm")


async def test_restart_changes_the_process_and_the_project(
    bench, request_for, healthy, acp: AcpClient
) -> None:
    request = request_for("pm", project="old")
    first = await bench.runtime.start(request)
    await healthy(bench.runtime, "pm")
    second = await bench.runtime.restart(replace(request, project="new"))
    assert second.state is State.RUNNING
    assert second.handle != first.handle
    await healthy(bench.runtime, "pm")
    status = await acp.status(bench.runtime.endpoint("pm"), "trace-2")
    assert status.project == "new"
    assert second.handle_name != "pid" or str(status.pid) == second.handle
    assert bench.processes() == (second.handle,)


async def test_restart_of_a_stopped_agent_starts_it(bench, request_for, healthy) -> None:
    assert (await bench.runtime.restart(request_for("pm"))).state is State.RUNNING
    await healthy(bench.runtime, "pm")


@pytest.mark.parametrize("project", ["new-app", None, "mit Ümlaut \u202e \"'; $(id)"])
async def test_what_was_asked_reaches_the_agent(
    bench, request_for, healthy, acp: AcpClient, project: str | None
) -> None:
    started = await bench.runtime.start(request_for("pm", project=project))
    await healthy(bench.runtime, "pm")
    status = await acp.status(bench.runtime.endpoint("pm"), "trace-2")
    assert (status.agent, status.role, status.project) == ("pm", "pm", project)
    assert status.trace == "trace-1"
    assert started.handle_name != "pid" or str(status.pid) == started.handle


async def test_a_restart_by_acp_is_a_new_beginning_in_the_same_process(
    bench, request_for, healthy, until, acp: AcpClient
) -> None:
    runtime: Runtime = bench.runtime
    started = await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")
    endpoint = runtime.endpoint("pm")
    values = {"room": "!ops:x.org", "operator": "@alice:x.org", "forge": "https://git.x.org/"}
    values["project"] = "team/app"
    document = canonical(load_template("pm").fill("pm", values))
    await acp.apply(endpoint, "trace-2", document)
    last = (await acp.report(endpoint, "trace-2")).incarnation
    for _ in range(2):  # the second begins with what the first handed over
        key = f"restart-{last}"
        accepted = await acp.restart(endpoint, "trace-2", "a test", key=key)
        assert accepted.incarnation == last

        async def began(last: str = last) -> bool:
            try:
                return (await acp.report(endpoint, "trace-2")).incarnation != last
            except AcpUnreachableError:  # a connection that the old program had accepted
                return False

        await until(began)
        report = await acp.report(endpoint, "trace-2")
        assert (await acp.restart(endpoint, "trace-2", "a test", key=key)) == accepted
        await asyncio.sleep(0.3)
        again = await acp.report(endpoint, "trace-2")
        assert again.incarnation == report.incarnation, "a retry does not restart it again"
        assert report.config_sha256 == sha256_hex(document)
        last = report.incarnation
    assert await runtime.status("pm") == started
    assert bench.processes() == (started.handle,)
    assert (await acp.apply(endpoint, "trace-2", document)).changed is False
    assert (await runtime.stop("pm")).state is State.STOPPED


async def test_what_is_removed_is_as_if_it_had_never_been(bench, request_for, healthy) -> None:
    runtime, request = bench.runtime, request_for("pm")
    await runtime.remove("pm")  # nothing to remove
    first = await runtime.start(request)
    await healthy(runtime, "pm")
    await runtime.remove("pm")
    assert bench.processes() == ()
    assert (await runtime.status("pm")).state is State.STOPPED
    assert runtime.endpoint("pm") is None
    assert "pm" not in [each.name for each in await runtime.list()]
    assert runtime.secrets() == ()
    if runtime.kind_of("pm") != "systemd":  # whose journal is not the control plane's
        assert await runtime.log_tail("pm", 100) == ()
    second = await runtime.start(request)
    await healthy(runtime, "pm")
    assert second.handle != first.handle


async def test_list_names_the_started_agents(bench, request_for, until) -> None:
    await bench.runtime.start(request_for("pm"))
    await bench.runtime.start(request_for("developer"))
    await bench.runtime.stop("pm")
    listed = await bench.runtime.list()
    assert [(status.name, status.state) for status in listed] == [
        ("developer", State.RUNNING),
        ("pm", State.STOPPED),
    ]


async def test_the_endpoint_lives_as_long_as_the_agent(
    bench, request_for, healthy, acp: AcpClient
) -> None:
    request = request_for("pm")
    assert bench.runtime.endpoint("pm") is None
    await bench.runtime.start(request)
    await healthy(bench.runtime, "pm")
    first: Endpoint = bench.runtime.endpoint("pm")
    assert first.token not in repr(first)
    await bench.runtime.stop("pm")
    assert bench.runtime.endpoint("pm") is None

    await bench.runtime.start(request)
    await healthy(bench.runtime, "pm")
    assert bench.runtime.endpoint("pm").token != first.token
    with pytest.raises(AcpError, match="token"):
        await acp.health(first, "trace-2")


async def test_agents_do_not_accept_one_anothers_token(
    bench, request_for, healthy, acp: AcpClient
) -> None:
    for name in ("pm", "developer"):
        await bench.runtime.start(request_for(name))
        await healthy(bench.runtime, name)
    pm, developer = bench.runtime.endpoint("pm"), bench.runtime.endpoint("developer")
    with pytest.raises(AcpError, match="token"):
        await acp.status(replace(pm, token=developer.token), "trace-2")
    assert (await acp.status(pm, "trace-2")).agent == "pm"


@pytest.mark.parametrize(
    "name", ["", "../pm", "pm/..", "/etc", "PM", "pm\n", "p\u200bm", "-pm", "a" * 31, "."]
)
async def test_what_is_no_name_is_refused(
    bench, request_for: Callable[..., StartRequest], name: str
) -> None:
    runtime: Runtime = bench.runtime
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: runtime.start(replace(request_for("pm"), name=name)),
        lambda: runtime.restart(replace(request_for("pm"), name=name)),
        lambda: runtime.stop(name),
        lambda: runtime.status(name),
        lambda: runtime.usage(name),
        lambda: runtime.log_tail(name, 10),
    ]
    for call in calls:
        with pytest.raises(AgentRuntimeError, match="name"):
            await call()
    with pytest.raises(AgentRuntimeError, match="name"):
        runtime.endpoint(name)
    assert await runtime.list() == ()


async def test_what_a_running_agent_uses_is_counted(bench, request_for, healthy) -> None:
    runtime: Runtime = bench.runtime
    assert await runtime.usage("pm") == Usage()
    await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")
    used = await runtime.usage("pm")
    assert used.memory is not None
    assert 4 * MIB < used.memory < 1024 * MIB, "an interpreter with a server in it"
    assert (used.cpu_s is not None) == bench.counts_cpu
    assert used.cpu_s is None or 0 < used.cpu_s < 60
    assert used.restarts == (0 if bench.counts_restarts else None)
    await runtime.stop("pm")
    assert await runtime.usage("pm") == Usage()


async def test_starts_that_nobody_asked_for_are_counted(bench, request_for, healthy, until) -> None:
    runtime: Runtime = bench.runtime
    await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")
    await bench.kill("pm")

    async def counted() -> bool:
        return (await runtime.usage("pm")).restarts == 1

    async def failed() -> bool:
        return (await runtime.status("pm")).state is State.FAILED

    await until(counted if bench.counts_restarts else failed)
    await runtime.restart(request_for("pm"))
    assert (await runtime.usage("pm")).restarts in (0, None), "this one was asked for"


async def test_the_log_is_that_of_all_runs_oldest_first(
    bench, request_for, ports, healthy, until
) -> None:
    runtime: Runtime = bench.runtime
    used: list[int] = []
    for _ in range(2):
        await runtime.start(request_for("pm"))
        used.append(ports["pm"])
        await healthy(runtime, "pm")
        await runtime.stop("pm")

    async def places() -> list[int]:
        tail = await runtime.log_tail("pm", MAX_LOG_LINES)
        return [
            max((n for n, line in enumerate(tail) if f'"port": {port}' in line), default=-1)
            for port in used
        ]

    async def both() -> bool:
        return min(await places()) >= 0

    await until(both)  # a journal takes a moment
    first, second = await places()
    assert first < second


async def test_the_log_is_bounded(bench, request_for, healthy, until) -> None:
    runtime: Runtime = bench.runtime
    await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")

    async def has_two() -> bool:
        return len(await runtime.log_tail("pm", 2)) == 2

    for _ in range(2):
        await runtime.restart(request_for("pm"))
        await healthy(runtime, "pm")
    await runtime.stop("pm")
    await until(has_two)
    every = await runtime.log_tail("pm", 10**6)
    assert 2 < len(every) <= MAX_LOG_LINES
    assert not any(end in line for line in every for end in "\r\n")
    assert await runtime.log_tail("pm", 2) == every[-2:]


async def test_who_never_wrote_has_no_log(bench) -> None:
    assert await bench.runtime.log_tail(NEVER_WROTE, 10) == ()


async def test_the_tokens_that_agents_hold_are_known(bench, request_for, healthy) -> None:
    runtime: Runtime = bench.runtime
    assert runtime.secrets() == ()
    for name in ("pm", "developer"):
        await runtime.start(request_for(name))
    tokens = {runtime.endpoint(name).token for name in ("pm", "developer")}
    assert {secret.reveal() for secret in runtime.secrets()} == tokens
    assert not any(token in str(runtime.secrets()) for token in tokens)
    await runtime.stop("pm")
    left = [secret.reveal() for secret in runtime.secrets()]
    assert left == [runtime.endpoint("developer").token]


async def test_after_close_nothing_is_left_and_nothing_starts(bench, request_for, healthy) -> None:
    for name in ("pm", "developer"):
        await bench.runtime.start(request_for(name))
        await healthy(bench.runtime, name)
    before = bench.processes()
    assert len(before) == 2
    await bench.runtime.close()
    assert bench.processes() == (() if bench.close_ends_agents else before)
    await bench.runtime.close()
    with pytest.raises(AgentRuntimeError, match="ending"):
        await bench.runtime.start(request_for("tester"))
    assert bench.processes() == (() if bench.close_ends_agents else before)
