"""An agent puts on record what it does, and is never held up by it."""

import asyncio
import secrets
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from agency.agent.looking import Looks, telling
from agency.agent.recording import Recorder
from agency.agent.server import build_app
from agency.clock import Clock
from agency.protocols.acp import TRACE_HEADER, AgentConfig
from agency.protocols.audit_socket import AuditClient

CONFIG = AgentConfig(name="pm", role="pm", port=20001)


def recorder_of(path, **options) -> Recorder:
    return Recorder(AuditClient(path, timeout_s=5), pause_s=0.01, **options)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.01)


def said(caplog) -> list[str]:
    return [r.fields["reason"] for r in caplog.records if "not put on record" in r.message]


async def test_events_come_in_order_and_before_the_end(service, events) -> None:
    async with recorder_of(service.socket) as recorder:
        for number in range(20):
            recorder.put(f"x.{number}")
    assert events() == ["log.begun", *(f"x.{number}" for number in range(20))]


async def test_no_socket_is_said_once(tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    async with recorder_of(tmp_path / "none") as recorder:
        for _ in range(5):
            recorder.put("x")
    assert said(caplog) == ["the audit log's socket is not there"]
    assert recorder.lost == 5


async def test_a_refusal_is_said(serving, caplog) -> None:
    async with serving(agents={}) as service, recorder_of(service.socket) as recorder:
        recorder.put("x")
        recorder.put("x")
    (reason,) = said(caplog)
    assert "is not an agent's" in reason


async def test_what_was_lost_is_counted_and_on_record(serving, tmp_path, records, caplog) -> None:
    caplog.set_level("INFO")
    async with recorder_of(tmp_path / "socket") as recorder:
        for _ in range(3):
            recorder.put("lost")
        await until(lambda: recorder.lost == 3)
        async with serving():
            recorder.put("found")
            await until(lambda: bool(records()) and records()[-1]["event"] == "found")
    kept = [(record["event"], record["detail"]) for record in records()]
    assert kept[1:] == [("audit.lost", {"events": 3}), ("found", {})]
    assert recorder.lost == 0
    assert any("again" in record.message for record in caplog.records)


async def test_a_full_queue_drops_and_never_waits(service, records) -> None:
    async with recorder_of(service.socket, capacity=5) as recorder:
        for number in range(12):  # in one step of the loop: nothing can be taken out meanwhile
            recorder.put("x", n=number)
        assert recorder.lost == 7
    kept = [(record["event"], record["detail"]) for record in records()[1:]]
    assert kept[0] == ("audit.lost", {"events": 7})
    assert kept[1:] == [("x", {"n": number}) for number in range(5)]


async def test_a_service_that_does_not_answer_does_not_hold_up_the_end(tmp_path, caplog) -> None:
    async def silent(reader, writer) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, tmp_path / "socket")
    async with server:
        async with recorder_of(tmp_path / "socket") as recorder:
            recorder.put("x")
        assert any("ended with events" in record.message for record in caplog.records)


@pytest.fixture
def token() -> str:
    return secrets.token_urlsafe()


async def test_what_an_agent_takes_is_on_record_and_looks_are_counted(
    service, token, records
) -> None:
    """The control plane asks for its state every few seconds: that buries nothing."""
    looks = Looks()
    async with recorder_of(service.socket) as recorder:
        app = build_app(CONFIG, token, Clock(), recorder, looks=looks)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        async with aiohttp.ClientSession() as session:

            async def ask(
                path: str, method: str = "GET", given: str = token, trace: str = "t-1"
            ) -> int:
                headers = {"Authorization": f"Bearer {given}", TRACE_HEADER: trace}
                url = server.make_url(path)
                async with session.request(method, url, headers=headers) as answer:
                    return answer.status

            assert await ask("/v1/tools/call?secret=1", "POST") == 400
            for path in ("/status", "/v1/status", "/health", "/v1/health"):
                assert await ask(path) == 200
            assert await ask("/v1/approvals") == 501, "it has no gateway"
            assert await ask("/none") == 404
            assert await ask("/status", given="wrong") == 401
            assert await ask("/v1/tasks/cancel", "POST", trace="not a trace") == 400
            async with session.get(
                server.make_url("/v1/events"), headers={"Authorization": f"Bearer {token}"}
            ) as stream:
                assert stream.status == 200
        await server.close()
    kept = [(record["event"], record["detail"]) for record in records()[1:]]
    assert kept == [
        ("acp.taken", {"method": "POST", "path": "/v1/tools/call", "trace": "t-1"}),
        ("acp.taken", {"method": "POST", "path": "/v1/tasks/cancel"}),
        ("acp.taken", {"method": "GET", "path": "/v1/events"}),
    ]
    assert looks.told() == {"looks": 5, "looks_failed": 1}
    assert looks.told() == {"looks": 0, "looks_failed": 0}


async def test_an_agent_that_nobody_asks_anything_says_that_it_lives(service, records) -> None:
    looks = Looks()
    looks.add(good=True)
    async with recorder_of(service.socket) as recorder:
        async with telling(recorder, looks, period_s=0.05):
            await until(lambda: len(records()) >= 3)
        kept = len(records())
        await asyncio.sleep(0.2)
        assert len(records()) <= kept + 1, "after its end it says nothing"
    told = [record["detail"] for record in records() if record["event"] == "agent.alive"]
    assert told[:2] == [{"looks": 1, "looks_failed": 0}, {"looks": 0, "looks_failed": 0}]
