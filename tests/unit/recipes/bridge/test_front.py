"""The port of the bridge: the hook proves itself and does no more than wake; numbers and health."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from contextlib import asynccontextmanager

import aiohttp
import pytest
from binding import free_port

from agency.clock import Clock
from agency.listening import PortTakenError, listen
from agency.recipes.bridge.front import LIMITS, STALE_S, Front
from agency.recipes.bridge.numbers import Numbers
from agency.recipes.bridge.process import read_credentials
from agency.secrets import SecretValue
from agency.web import listen as serve_on
from agency.web import make_runner

SECRET = "hooks-own-secret"
BODY = {
    "action": "created",
    "is_pull": True,
    "issue": {"number": 7},
    "comment": {
        "id": 70,
        "body": "!testme",
        "user": {"id": 2, "login": "ada"},
        "created_at": "2026-01-01T12:00:00Z",
        "updated_at": "2026-01-01T12:00:00Z",
    },
    "repository": {"full_name": "Team/Wiki"},
}


class Served:
    def __init__(self, bench) -> None:
        self.bench = bench
        self.woken: Counter[str] = Counter()
        self.now = 0.0
        self.numbers = Numbers(lambda: self.now, {"team/wiki": 0.0})
        self.port = free_port()

    @asynccontextmanager
    async def up(self, secret: str | None = SECRET):
        wake = {"team/wiki": lambda: self.woken.update(["team/wiki"])}
        clock = Clock(steady=lambda: self.now)
        held = None if secret is None else SecretValue(secret)
        front = Front(held, wake, self.numbers, self.bench.runs, clock)
        runner = make_runner(front.app(), LIMITS)
        await runner.setup()
        await serve_on(runner, listen(self.port))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as session:
            yield session
        await runner.cleanup()


def call(body: object = BODY, secret: str = SECRET, event: str = "issue_comment"):
    data = json.dumps(body).encode()
    signed = hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()
    headers = {"X-Gitea-Event": event, "X-Gitea-Signature": signed, "X-Gitea-Delivery": "d"}
    return {"data": data, "headers": headers}


@pytest.fixture
def served(bench):
    return Served(bench)


async def test_a_call_wakes_its_project_and_does_no_more(served):
    async with served.up() as session:
        for _ in range(3):  # a replay
            async with session.post("/hook", **call()) as answer:
                assert answer.status == 204
    assert served.woken == {"team/wiki": 3}
    assert served.bench.forge.calls == {}
    assert await served.bench.all_runs() == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (call(secret="another-secret"), 403),
        (call() | {"data": json.dumps(BODY).encode() + b" "}, 403),
        ({"data": b"{}"}, 403),
        (call([]), 403),
        (call({"repository": {"full_name": 3}}), 400),
        (call(BODY | {"repository": {"full_name": "team/other"}}), 204),
        (call(BODY | {"is_pull": False}), 204),
        (call({"repository": {"full_name": "team/wiki"}, "ref": "x"}, event="push"), 204),
    ],
)
async def test_other_calls_wake_nothing(served, changed, status):
    async with served.up() as session, session.post("/hook", **changed) as answer:
        assert answer.status == status
        assert SECRET not in await answer.text()
    assert not served.woken


async def test_without_a_secret_there_is_no_hook(served, tmp_path, monkeypatch):
    async with served.up(None) as session:
        for secret in ("", SECRET):
            async with session.post("/hook", **call(secret=secret)) as answer:
                assert answer.status == 404
    assert not served.woken
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "forge-bot-token").write_text("token-of-a-test\n")
    (tmp_path / "webhook-hmac").write_text("\n")
    assert read_credentials().hook is None
    (tmp_path / "webhook-hmac").write_text(f"{SECRET}\n")
    assert read_credentials().hook is not None


async def test_large_and_many_calls_are_refused(served):
    async with served.up() as session:
        async with session.post("/hook", **call({"x": "y" * LIMITS.body_bytes})) as answer:
            assert answer.status == 413
        found = Counter()
        for _ in range(100):
            async with session.post("/hook", **call()) as answer:
                found[answer.status] += 1
        assert found[204] < 61
        assert found[429] == 100 - found[204]
        served.now += 10.0
        async with session.post("/hook", **call()) as answer:
            assert answer.status == 204
        async with session.get("/health") as answer:
            assert answer.status == 200, "other pages are not counted"


async def test_health_says_when_the_forge_was_not_read_for_long(served):
    async with served.up() as session:
        async with session.get("/health") as answer:
            assert answer.status == 200
            told = await answer.json()
            assert told == {"ok": True, "hook": True, "projects": 1, "oldestLookSeconds": 0}
        served.now = STALE_S + 1
        async with session.get("/health") as answer:
            assert (answer.status, (await answer.json())["ok"]) == (503, False)


async def test_numbers_are_there_to_be_read(served):
    await served.bench.look()
    served.bench.pass_time(5)
    served.bench.forge.say("!testme")
    await served.bench.look()
    served.now = 7.0
    async with served.up() as session, session.get("/metrics") as answer:
        text = await answer.text()
    assert 'agency_bridge_runs{state="queued"} 1.0' in text
    assert "agency_bridge_last_look_age_seconds 7.0" in text
    assert 'agency_bridge_looks_total{result="failed"} 0.0' in text


async def test_two_bridges_do_not_share_a_port(served):
    async with served.up():
        with pytest.raises(PortTakenError):
            listen(served.port)
