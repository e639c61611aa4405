"""The service over a real socket: who may speak, what is taken, and what is refused."""

import asyncio
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agency.protocols.audit_socket import MAX_LINE, AuditClient
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.service.peers import is_agent

ROOMY = Bounds(free_bytes=0)


def line(event: str, **detail: object) -> bytes:
    return json.dumps({"event": event, "detail": detail}).encode() + b"\n"


async def closed(connection) -> None:
    assert await connection.reader.read() == b""


async def test_an_event_is_on_disk_when_it_is_answered(service, records) -> None:
    connection = await service.connect()
    answer = await connection.say(line("task.done", n=1))
    last = records()[-1]
    assert answer == {"sequence": last["sequence"], "hash": last["hash"]}
    assert (last["agent"], last["event"], last["detail"]) == ("pm", "task.done", {"n": 1})
    assert (last["uid"], last["pid"]) == (os.geteuid(), os.getpid()), "as the kernel says"
    await connection.close()


async def test_many_events_over_one_connection_keep_their_order(service, records) -> None:
    connection = await service.connect()
    connection.writer.write(b"".join(line("x", n=n) for n in range(50)))
    answers = [await connection.hear() for _ in range(50)]
    assert [answer["sequence"] for answer in answers] == list(range(2, 52))
    assert [r["detail"]["n"] for r in records() if r["event"] == "x"] == list(range(50))
    await connection.close()


async def test_a_refused_line_does_not_end_the_connection(service, events) -> None:
    connection = await service.connect()
    for bad in (b"\n", b"{}\n", b"rubbish\n", b"\xff\n", line("log.removed")):
        answer = await connection.say(bad)
        assert set(answer) == {"error", "hint"}
    assert "sequence" in await connection.say(line("x"))
    assert events() == ["log.begun", "x"]
    await connection.close()


async def test_nobody_can_speak_for_another(service, records) -> None:
    connection = await service.connect()
    for field in ("agent", "uid", "pid"):
        claim = json.dumps({"event": "x", "detail": {}, field: "dev"}).encode() + b"\n"
        assert field in (await connection.say(claim))["error"]
    await connection.say(line("x", agent="dev"))
    last = records()[-1]
    assert (last["agent"], last["detail"]) == ("pm", {"agent": "dev"})
    assert not list(service.directory.glob("dev*"))
    await connection.close()


async def test_a_user_that_is_no_agent_is_refused(serving, directory, caplog) -> None:
    async with serving(agents={os.geteuid() + 1: "pm"}) as service:
        connection = await service.connect()
        answer = await connection.say(line("x"))
        assert answer["error"] == f"uid {os.geteuid()} is not an agent's"
        await connection.close()
    assert not list(directory.iterdir())
    assert any("no agent" in record.message for record in caplog.records)


async def test_the_proxy_tells_of_agents_calls_and_of_nothing_else(serving, records) -> None:
    async with serving(agents={}, proxy_uid=os.geteuid()) as service:
        connection = await service.connect()
        assert "sequence" in await connection.say(line("model.called", agent="pm", tokens=3))
        last = records()[-1]
        assert (last["agent"], last["event"], last["uid"]) == ("pm", "model.called", os.geteuid())
        for refused in (
            line("model.called", agent="dev"),
            line("model.called", agent="../pm"),
            line("model.called", agent=["pm"]),
            line("model.called"),
            line("tool.decided", agent="pm"),
        ):
            assert "the proxy tells of calls" in (await connection.say(refused))["error"]
        assert records()[-1] == last
        await connection.close()


def test_an_agent_is_one_of_this_machines(tmp_path: Path) -> None:
    (tmp_path / "pm.json").write_text("{}")
    (tmp_path.parent / "out.json").write_text("{}")
    assert is_agent("pm", tmp_path)
    for other in ("dev", "../out", "", None, ["pm"], 7):
        assert not is_agent(other, tmp_path)


async def test_an_agent_that_asks_much_takes_no_other_agents_rows(serving) -> None:
    tight = replace(ROOMY, burst=2, rate_per_s=0.001)
    async with serving(tight, agents={}, proxy_uid=os.geteuid()) as service:
        connection = await service.connect()
        said = [await connection.say(line("model.called", agent="pm")) for _ in range(3)]
        assert ["sequence" in each for each in said] == [True, True, False]
        # Of an agent that is not there nothing is counted: it is refused as such.
        refused = await connection.say(line("model.called", agent="dev"))
        assert "and of nothing else" in refused["error"]
        await connection.close()


def said_as(uid: int, path: Path) -> tuple[int, dict]:
    """What a process of another user is answered, and its pid; nothing is executed there."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(str(path))
                connection.sendall(line("x"))
                os.write(writing, connection.recv(4096))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return pid, json.loads(answer)


@pytest.fixture
def open_place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="agency-audit-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_the_sender_is_the_user_of_the_process(serving, records, open_place) -> None:
    """Two real users over one socket: one is an agent, the other is not."""
    path = open_place / "socket"
    async with serving(agents={4321: "pm"}, path=path):
        path.chmod(0o666)
        agent, answer = await asyncio.to_thread(said_as, 4321, path)
        _, refusal = await asyncio.to_thread(said_as, 4322, path)
    assert refusal["error"] == "uid 4322 is not an agent's"
    assert answer["sequence"] == 2
    assert [(r["uid"], r["pid"]) for r in records() if r["event"] == "x"] == [(4321, agent)]


async def test_a_line_that_is_too_long_ends_the_connection(service, events) -> None:
    connection = await service.connect()
    long = line("x", text="y").rstrip(b"\n")
    assert "sequence" in await connection.say(long.ljust(MAX_LINE - 1) + b"\n")
    answer = await connection.say(b"y" * (MAX_LINE * 3))
    assert "longer than" in answer["error"]
    await connection.close()
    again = await service.connect()
    assert "sequence" in await again.say(line("z"))
    await again.close()
    assert events() == ["log.begun", "x", "z"]


async def test_half_a_line_is_no_event(service, events) -> None:
    connection = await service.connect()
    await connection.say(line("x"))
    connection.writer.write(line("y")[:-1])
    connection.writer.write_eof()
    await closed(connection)
    assert events() == ["log.begun", "x"]
    await connection.close()


async def test_too_many_events(serving, moment, events) -> None:
    async with serving(replace(ROOMY, rate_per_s=2.0, burst=3)) as service:
        connection = await service.connect()
        answers = [await connection.say(line("x")) for _ in range(5)]
        assert ["sequence" in answer for answer in answers] == [True] * 3 + [False] * 2
        assert "too many events" in answers[-1]["error"]
        other = await service.connect()
        assert "error" in await other.say(line("x")), "another connection is the same user"
        moment.now += 1.0
        answers = [await connection.say(line("x")) for _ in range(3)]
        assert ["sequence" in answer for answer in answers] == [True, True, False]
        await connection.close()
        await other.close()
    assert events().count("x") == 5


@pytest.mark.parametrize("bounds", [{"connections_per_uid": 2}, {"connections": 2}])
async def test_too_many_connections(serving, bounds) -> None:
    async with serving(replace(ROOMY, **bounds)) as service:
        first, second = await service.connect(), await service.connect()
        for connection in (first, second):
            assert "sequence" in await connection.say(line("x"))
        third = await service.connect()
        assert (await third.hear())["error"] == "too many connections"
        await third.close()
        await first.close()
        assert "sequence" in await second.say(line("x"))
        while True:  # the service sees the end of a connection when it comes to it
            fourth = await service.connect()
            answer = await fourth.say(line("x"))
            await fourth.close()
            if "sequence" in answer:
                break
        await second.close()


async def test_who_says_nothing_is_cut_off(serving) -> None:
    async with serving(replace(ROOMY, idle_s=0.05)) as service:
        connection = await service.connect()
        await closed(connection)
        await connection.close()


async def test_an_agent_whose_log_is_full_is_told(serving, events) -> None:
    async with serving(replace(ROOMY, agent_bytes=1500)) as service:
        connection = await service.connect()
        answers = [await connection.say(line("x")) for _ in range(10)]
        assert "sequence" in answers[0]
        assert "takes no more" in answers[-1]["error"]
        assert str(service.directory) not in json.dumps(answers[-1])
        await connection.close()
    assert 0 < events().count("x") < 10


async def test_the_end_of_the_service_ends_connections(serving, events) -> None:
    async with serving() as service:
        connection = await service.connect()
        await connection.say(line("x"))
    await closed(connection)
    async with serving() as service:
        again = await service.connect()
        await again.say(line("y"))
        await again.close()
    assert events() == ["log.begun", "x", "log.opened", "y"]


# The client.


async def test_the_client_goes_on_after_a_refusal_and_a_restart(serving, events, tmp_path) -> None:
    client = AuditClient(tmp_path / "socket")
    async with serving():
        assert (await client.record("x", {})).sequence == 2
        with pytest.raises(Exception, match="the log's own"):
            await client.record("log.x", {})
        assert (await client.record("x", {})).sequence == 3
    with pytest.raises(Exception, match="the connection broke"):
        await client.record("x", {})
    async with serving():
        assert (await client.record("y", {"n": 1})).sequence == 5
        await client.close()
    assert events() == ["log.begun", "x", "x", "log.opened", "y"]


@pytest.mark.parametrize("detail", [{"a": float("nan")}, {"a": "\ud800"}, {"a": "x" * 5000}])
async def test_the_client_refuses_what_cannot_be_sent(service, detail) -> None:
    client = AuditClient(service.socket)
    with pytest.raises(Exception, match=r"the detail|longer than"):
        await client.record("x", detail)
    assert (await client.record("x", {"a": "fine"})).sequence == 2
    await client.close()
