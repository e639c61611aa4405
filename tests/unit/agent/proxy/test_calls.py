"""The proxy between a real client and a scripted provider: what passes, and what is refused."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from proxied import HELD, PROVIDER_KEY, TOKENS, proxied
from scripted_model import ENDLESS_PIECES, Turn, scripted

from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.models.conversation import (
    ModelRequest,
    StopReason,
    ToolCall,
    ToolDefinition,
    Usage,
    UserMessage,
)
from agency.agent.models.faults import BudgetSpentError, ModelFailedError, ModelRefusedError
from agency.secrets import SecretValue

BOTH = pytest.mark.parametrize("wire", ["openai", "anthropic"])
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
MODELS = {"openai": "small", "anthropic": "claude"}
LOOK = ToolDefinition("look", "Look.", {"type": "object"})
CALL = ToolCall("call-1", "look", '{"at": "x"}')
USAGE = Usage(1000, 50, cache_read=200)


def client(url: str, wire: str, who: str = "pm") -> ModelClient:
    endpoint = Endpoint(url, SecretValue(TOKENS[who]), wire)
    return ModelClient(endpoint, ModelLimits(tries=1, whole_s=20))


def asked(wire: str, text: str = "hello", **more) -> ModelRequest:
    values = {"max_tokens": 100, "tools": (LOOK,), **more}
    return ModelRequest(MODELS[wire], (UserMessage(text),), **values)


@BOTH
@EITHER
async def test_a_call_passes_both_ways_and_counts_what_was_used(tmp_path, wire, stream):
    turn = Turn("Voilà 你好 🌍", (CALL,), USAGE)
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        async with client(proxy.url, wire) as sender:
            answer = await sender.ask(asked(wire), stream=stream)
        assert (answer.text, answer.stop, answer.usage) == (turn.text, StopReason.TOOLS, USAGE)
        assert answer.calls[0].parsed() == {"at": "x"}
        told = await proxy.settled()
        assert (told.agent, told.model, told.outcome) == ("pm", MODELS[wire], "done")
        # 800 at 1.00, 200 read from a cache at 0.50, 50 made at 2.00 dollars for a million
        assert (told.amount.tokens, told.amount.nanos) == (1050, 800_000 + 100_000 + 100_000)
        assert (await proxy.ledger.spent("pm")).day == told.amount


@BOTH
async def test_the_provider_gets_its_key_and_its_name_of_the_model(tmp_path, wire):
    async with scripted(Turn("x")) as model, proxied(model.url, tmp_path) as proxy:
        said = await proxy.ask(
            wire,
            headers={
                "Authorization": f"Bearer {TOKENS['pm']}",
                "X-Forwarded-For": "10.0.0.1",
                "OpenAI-Organization": "another",
                "Anthropic-Beta": "costs-more",
                "Cookie": "a=b",
            },
        )
        assert said.status == 200
    (sent,) = model.asked
    shown = str(sent.headers)
    assert PROVIDER_KEY in shown
    assert TOKENS["pm"] not in shown + json.dumps(sent.body)
    for name in ("x-forwarded-for", "openai-organization", "anthropic-beta", "cookie"):
        assert name not in {each.lower() for each in sent.headers}
    assert sent.body["model"] == {"openai": "small", "anthropic": "claude-9"}[wire]


async def test_only_some_headers_of_the_answer_pass(tmp_path):
    headers = {"Set-Cookie": "a=b", "X-Request-Id": "r-1", "Server": "s", "X-Evil": "1"}
    turns = [Turn("x", headers=headers)] * 2
    async with scripted(*turns) as model, proxied(model.url, tmp_path) as proxy:
        for stream in (True, False):
            said = await proxy.ask(stream=stream)
            assert said.headers["X-Request-Id"] == "r-1"
            assert not [
                each for each in ("Set-Cookie", "X-Evil", "X-Scripted") if each in said.headers
            ]
            assert said.headers["Server"].startswith("agency-proxy/")


@BOTH
async def test_a_wrong_token_learns_nothing_and_agents_are_told_apart(tmp_path, wire):
    async with scripted(Turn("x")) as model, proxied(model.url, tmp_path) as proxy:
        pm = f"Bearer {TOKENS['pm']}"
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer "},
            {"Authorization": TOKENS["pm"]},
            {"X-Api-Key": ""},
            {"Authorization": pm, "X-Api-Key": TOKENS["developer"]},
            {"Authorization": f"Bearer {TOKENS['metrics']}"},
        ):
            said = await proxy.ask(wire, headers=headers)
            assert said.status == 401, headers
            assert (await proxy.post("/v1/nothing", b"", headers=headers)).status == 401
        assert (await proxy.ask(wire, headers={"X-Api-Key": TOKENS["pm"]})).status == 200
        assert (await proxy.settled()).agent == "pm"
        assert len(model.asked) == 1


async def test_the_allow_list_is_of_this_agent(tmp_path):
    async with scripted(Turn("x")) as model, proxied(model.url, tmp_path) as proxy:
        async with client(proxy.url, "anthropic", "developer") as sender:
            with pytest.raises(ModelRefusedError, match=r"may not use the model 'claude'.*small"):
                await sender.ask(asked("anthropic"))
        said = await proxy.ask(model="gpt-unknown")
        assert (said.status, said.code) == (403, "model")
        said = await proxy.ask(model="claude")
        assert (said.status, "/v1/messages" in said.message) == (400, True)
        assert not model.asked
        listed = (await proxy.get("/v1/models", "developer")).json["data"]
        assert [each["id"] for each in listed] == ["small"]


@BOTH
@EITHER
async def test_a_budget_that_is_spent_refuses_with_a_reason(tmp_path, wire, stream):
    account = {"tokensPerDay": 4000, "overLimit": "refuse"}
    turns = [Turn("x", usage=Usage(2000, 50))] * 2
    async with scripted(*turns) as model, proxied(model.url, tmp_path, account=account) as proxy:
        async with client(proxy.url, wire) as sender:
            await sender.ask(asked(wire), stream=stream)
            await proxy.settled()
            with pytest.raises(
                BudgetSpentError, match=r"2050 of 4000 tokens and 0\.00\d\d of 10\.0000 USD"
            ):
                await sender.ask(asked(wire), stream=stream)
        assert len(model.asked) == 1
        # another agent has a budget of its own
        assert (await proxy.ask(who="developer")).status == 200


async def test_money_is_a_budget_too(tmp_path):
    account = {"usdPerMonth": 0.004}  # a call of 2200 tokens reserves about 0.003
    turns = [Turn("x", usage=Usage(2000, 50))] * 2
    async with scripted(*turns) as model, proxied(model.url, tmp_path, account=account) as proxy:
        assert (await proxy.ask()).status == 200
        await proxy.settled()
        said = await proxy.ask()
        assert (said.status, "0.0021 of 0.0040 USD of the month" in said.message) == (402, True)
        assert len(model.asked) == 1


async def test_an_answer_is_shortened_to_what_is_left(tmp_path):
    async with (
        scripted(Turn("x"), Turn("x")) as model,
        proxied(model.url, tmp_path, account={"tokensPerDay": 2260}) as proxy,
    ):
        said = await proxy.ask(max_tokens=1000)
        assert said.status == 200
        assert 16 <= model.asked[0].body["max_tokens"] < 200
        told = await proxy.settled()
        assert told.reserved.tokens == 2260


@BOTH
@pytest.mark.parametrize("over", ["shorten", "refuse"])
async def test_tokens_of_one_request(tmp_path, wire, over):
    account = {"tokensPerRequest": 40, "overLimit": over}
    async with (
        scripted(*[Turn("x")] * 3) as model,
        proxied(model.url, tmp_path, account=account) as proxy,
    ):
        said = await proxy.ask(wire, max_tokens=50)
        if over == "refuse":
            assert (said.status, "40 are allowed" in said.message) == (400, True)
        else:
            assert model.asked[-1].body["max_tokens"] == 40
        assert (await proxy.ask(wire, max_tokens=30)).status == 200
        assert model.asked[-1].body["max_tokens"] == 30
        assert (await proxy.ask(wire, max_tokens=...)).status == 200
        assert model.asked[-1].body["max_tokens"] == 40


@BOTH
@EITHER
@pytest.mark.parametrize("fault", ["cut", "garbage", "lost"])
async def test_what_breaks_off_counts_whole(tmp_path, wire, stream, fault):
    turn = Turn("hello world", usage=Usage(5, 5), fault=fault)
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        await proxy.ask(wire, stream=stream)
        told = await proxy.settled()
        # Anthropic's streams tell the input at their beginning
        known = wire == "anthropic" and stream and fault == "cut"
        assert told.amount.tokens == (105 if known else told.reserved.tokens)
        assert (await proxy.ledger.spent("pm")).day == told.amount


@BOTH
async def test_a_stream_without_usage_counts_whole(tmp_path, wire):
    async with scripted(Turn("x", usage=None)) as model, proxied(model.url, tmp_path) as proxy:
        said = await proxy.ask(wire, stream=True)
        assert (said.status, b"error" in said.body) == (200, False)
        told = await proxy.settled()
        assert told.amount == told.reserved


@BOTH
async def test_usage_of_zero_is_zero(tmp_path, wire):
    async with (
        scripted(Turn("x", usage=Usage(0, 0))) as model,
        proxied(model.url, tmp_path) as proxy,
    ):
        await proxy.ask(wire, stream=True)
        assert (await proxy.settled()).amount.tokens == 0


@BOTH
async def test_a_program_that_goes_in_mid_stream_pays_whole(tmp_path, wire):
    turn = Turn("hello " * 20, fault="endless")
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        headers = {"Authorization": f"Bearer {TOKENS['pm']}"}
        body = {
            "model": MODELS[wire],
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 1000,
            "stream": True,
        }
        path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[wire]
        async with aiohttp.ClientSession() as session:
            answer = await session.post(proxy.url + path, json=body, headers=headers)
            await answer.content.readany()
            answer.close()
        told = await proxy.settled()
        assert told.outcome in ("gone", "exceeded")
        assert told.amount.tokens >= 1000


@BOTH
async def test_an_endless_answer_is_ended_by_an_error_event(tmp_path, wire):
    turn = Turn("hello " * 20, fault="endless")
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        async with client(proxy.url, wire) as sender:
            with pytest.raises(ModelFailedError, match="longer than what was reserved"):
                await sender.ask(asked(wire, max_tokens=20))
        told = await proxy.settled()
        assert told.outcome == "exceeded"
        # what was said counts, byte for byte: more than what was reserved
        assert told.amount.tokens > told.reserved.tokens - 2200 + 640
        assert model.pieces < ENDLESS_PIECES


@BOTH
@pytest.mark.parametrize(
    ("fault", "said"),
    [("cut", "broke off"), ("no-end", "ended the stream before"), ("silent", "stopped in mid")],
)
async def test_a_stream_that_stops_ends_with_an_error_event(tmp_path, wire, fault, said):
    turn = Turn("hello world", fault=fault)
    async with (
        scripted(turn) as model,
        proxied(model.url, tmp_path, idleS=0.3) as proxy,
        client(proxy.url, wire) as sender,
    ):
        with pytest.raises(ModelFailedError, match=said):
            await sender.ask(asked(wire))


@BOTH
async def test_an_answer_that_takes_too_long_in_all(tmp_path, wire):
    turn = Turn("hello world", fault="silent")
    async with scripted(turn) as model, proxied(model.url, tmp_path, answerS=0.3) as proxy:
        said = await proxy.ask(wire, stream=True)
        assert b"took too long" in said.body
    async with (
        scripted(Turn("x", fault="slow")) as model,
        proxied(model.url, tmp_path, answerS=0.3) as proxy,
    ):
        said = await proxy.ask(wire)
        assert said.status == 504


async def test_events_pass_as_they_come(tmp_path):
    """The first text is read while the provider has not said the rest."""
    turn = Turn("hello world", fault="silent")
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        pieces: list[str] = []
        came = asyncio.Event()

        def on_text(text: str) -> None:
            pieces.append(text)
            came.set()

        async with client(proxy.url, "openai") as sender:
            task = asyncio.create_task(sender.ask(asked("openai"), on_text=on_text))
            await asyncio.wait_for(came.wait(), 5)
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert "".join(pieces) in "hello worl"


async def test_usage_that_only_the_proxy_asked_for_does_not_pass(tmp_path):
    turns = [Turn("x", usage=Usage(5, 5))] * 2
    async with scripted(*turns) as model, proxied(model.url, tmp_path) as proxy:
        plain = await proxy.ask(stream=True)
        wanted = await proxy.ask(stream=True, stream_options={"include_usage": True})
        assert (b'"usage"' in plain.body, b'"usage"' in wanted.body) == (False, True)
        await proxy.settled(2)
        assert [each.amount.tokens for each in proxy.records] == [10, 10]
        assert all(each.body["stream_options"] == {"include_usage": True} for each in model.asked)


@BOTH
@pytest.mark.parametrize(
    ("turn", "status", "free"),
    [
        (Turn(status=400, text="no such field"), 400, True),
        (Turn(status=429, text="slow down", headers={"Retry-After": "3"}), 429, True),
        (Turn(status=529, text="overloaded"), 529, True),
        (Turn(status=500, text="broken"), 500, True),
        (Turn(status=504, text="in between"), 504, False),
        (Turn(status=401, text=f"wrong key {PROVIDER_KEY}"), 502, True),
        (Turn(status=302, headers={"Location": "http://169.254.169.254/"}), 502, True),
    ],
)
async def test_errors_of_the_provider(tmp_path, wire, turn, status, free):
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        said = await proxy.ask(wire)
        assert said.status == status
        assert PROVIDER_KEY not in str(said)
        if status not in (502,):
            assert turn.text in said.message
        assert said.headers.get("Retry-After") == turn.headers.get("Retry-After")
        told = await proxy.settled()
        assert told.outcome == "provider-error"
        assert told.amount.tokens == (0 if free else told.reserved.tokens)
        assert len(model.asked) == 1


async def test_a_provider_that_is_not_there_costs_nothing(tmp_path):
    async with proxied("http://127.0.0.1:9", tmp_path) as proxy:
        said = await proxy.ask()
        assert (said.status, "cannot connect" in said.message) == (502, True)
        assert (await proxy.settled()).amount.tokens == 0


async def test_an_answer_of_another_kind(tmp_path):
    headers = {"Content-Type": "text/html"}
    turn = Turn("x", fault="garbage", headers=headers)
    async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
        said = await proxy.ask(stream=True)
        assert said.status in (200, 502)
        assert (await proxy.settled()).amount == proxy.records[0].reserved


@BOTH
async def test_secrets_do_not_leave(tmp_path, wire):
    glpat = "glpat-" + "a1B2" * 6
    text = f"key {HELD} and {glpat} and {PROVIDER_KEY} and plain"
    async with scripted(Turn("x")) as model, proxied(model.url, tmp_path) as proxy:
        body = {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": text}]},
                {"role": "user", "content": json.dumps({"in": json.dumps(HELD)})},
            ],
            "tools": [_tool(wire, f"takes {HELD}")],
        }
        assert (await proxy.ask(wire, **body)).status == 200
        sent = json.dumps(model.asked[0].body)
        for secret in (HELD, glpat, PROVIDER_KEY):
            assert secret not in sent
        assert "and plain" in sent
        assert proxy.counters.redacted["pm"] == 3


def _tool(wire: str, description: str):
    if wire == "anthropic":
        return {"name": "t", "description": description, "input_schema": {"type": "object"}}
    return {"type": "function", "function": {"name": "t", "description": description}}


async def test_too_large_a_request(tmp_path):
    async with (
        scripted(Turn("x")) as model,
        proxied(model.url, tmp_path, requestBytes=5000) as proxy,
    ):
        said = await proxy.ask(messages=[{"role": "user", "content": "x" * 6000}])
        assert (said.status, "larger than 5000 bytes" in said.message) == (413, True)
        said = await proxy.ask(messages=[{"role": "user", "content": "x" * 3000}])
        assert (said.status, len(model.asked)) == (200, 1)


async def test_a_large_request_is_planned_as_a_small_one(tmp_path):
    text = "x" * 90_000 + HELD
    async with (
        scripted(Turn("x")) as model,
        proxied(model.url, tmp_path, account={"tokensPerDay": 10**6}) as proxy,
    ):
        assert (await proxy.ask(messages=[{"role": "user", "content": text}])).status == 200
        assert model.asked[0].body["messages"][0]["content"] == "x" * 90_000 + "[***]"
        said = await proxy.ask(messages=[{"role": "user", "content": text}], n=99)
        assert (said.status, said.code) == (400, "request")


async def test_rate_and_concurrency(tmp_path):
    account = {"requestsPerMinute": 3, "concurrentRequests": 2}
    slow = Turn("x", fault="slow")
    async with (
        scripted(slow, slow, Turn("x")) as model,
        proxied(model.url, tmp_path, account=account) as proxy,
    ):
        both = [asyncio.create_task(proxy.ask()) for _ in range(2)]
        await asyncio.wait_for(_until(lambda: len(model.asked) == 2), 5)
        said = await proxy.ask()
        assert (said.status, said.code, said.headers["Retry-After"]) == (
            429,
            "concurrency",
            "1",
        )
        assert (await proxy.ask(who="developer")).status == 200
        model.go.set()
        assert [(await each).status for each in both] == [200, 200]
        model.script.append(Turn("x"))
        assert (await proxy.ask()).status == 200
        said = await proxy.ask()
        assert (said.status, said.code) == (429, "rate")
        assert 50 < int(said.headers["Retry-After"]) <= 60


async def _until(what) -> None:
    while not what():  # noqa: ASYNC110 - of another task
        await asyncio.sleep(0.01)


async def test_metrics_are_for_their_reader_alone_and_name_no_text(tmp_path):
    async with (
        scripted(Turn("x", usage=Usage(7, 3))) as model,
        proxied(model.url, tmp_path) as proxy,
    ):
        await proxy.ask()
        await proxy.ask(model="not-allowed")
        assert (await proxy.get("/metrics", None)).status == 401
        assert (await proxy.get("/metrics", "pm")).status == 401
        said = (await proxy.get("/metrics", "metrics")).body.decode()
    assert 'agency_model_calls_total{agent="pm",model="small",outcome="done"} 1.0' in said
    assert 'agency_model_tokens_total{agent="pm",model="small"} 10.0' in said
    assert 'agency_model_refused_total{agent="pm",reason="model"} 1.0' in said
    assert "not-allowed" not in said


async def test_a_day_has_its_own_budget(tmp_path):
    from agency.clock import Clock

    now = [1_700_000_000.0]
    account = {"tokensPerDay": 2300}
    async with scripted(*[Turn("x", usage=Usage(2000, 50))] * 3) as model:
        clock = Clock(wall=lambda: now[0])
        async with proxied(model.url, tmp_path, clock=clock, account=account) as proxy:
            assert [(await proxy.ask()).status for _ in range(2)] == [200, 402]
            now[0] += 86_400
            assert [(await proxy.ask()).status for _ in range(2)] == [200, 402]
            now[0] -= 86_400  # a clock that is put back finds the day as it was
            assert (await proxy.ask()).status == 402


async def test_a_full_ledger_makes_no_call(tmp_path):
    async with scripted(Turn("x")) as model, proxied(model.url, tmp_path) as proxy:
        from sqlalchemy import text

        await proxy.ledger._database.write(lambda c: c.execute(text("DROP TABLE reserved")))
        said = await proxy.ask()
        assert (said.status, said.code, model.asked) == (503, "ledger", [])


@BOTH
async def test_a_redirect_takes_neither_key_nor_prompt_elsewhere(tmp_path, wire):
    async with scripted(Turn("stolen")) as other:
        turn = Turn(status=307, headers={"Location": f"{other.url}/v1/messages"})
        async with scripted(turn) as model, proxied(model.url, tmp_path) as proxy:
            assert (await proxy.ask(wire)).status == 502
        assert not other.asked


async def test_a_proxy_of_the_environment_is_not_used(tmp_path, monkeypatch):
    async with scripted(Turn("stolen")) as other, scripted(Turn("x")) as model:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("http_proxy", other.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with proxied(model.url, tmp_path) as proxy:
            assert (await proxy.ask()).status == 200
        assert (len(model.asked), other.asked) == (1, [])
