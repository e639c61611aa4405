"""The client against a real HTTP server: both formats, whole and streamed, and each fault."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from scripted_model import Turn, huge_arguments, scripted, wrong_tool

from agency.agent.models import faults
from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.models.conversation import (
    Answer,
    AssistantMessage,
    ModelRequest,
    StopReason,
    ToolCall,
    ToolDefinition,
    ToolResult,
    Usage,
    UserMessage,
)
from agency.secrets import SecretValue

TOKEN = "token-of-the-test"
LOOK = ToolDefinition("look", "Look at a thing.", {"type": "object", "properties": {}})
CALL = ToolCall("call-1", "look", '{"at": "é\\n"}')
REQUEST = ModelRequest(
    "m1",
    (
        UserMessage("hello"),
        AssistantMessage("I look.", (CALL,)),
        ToolResult("call-1", "seen", failed=True),
        UserMessage("and?"),
    ),
    64,
    "be brief",
    (LOOK,),
    0.5,
)
QUICK = ModelLimits(tries=3, first_wait_s=0.5, longest_wait_s=8, idle_s=0.3, whole_s=5)
BOTH = pytest.mark.parametrize("wire", ["openai", "anthropic"])
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


class Asking:
    """One client, its waits noted and not waited for."""

    def __init__(self, wire: str, limits: ModelLimits = QUICK) -> None:
        self.wire, self.limits, self.waits, self.told = wire, limits, [], []

    async def __call__(self, url: str, *, stream: bool, request: ModelRequest = REQUEST) -> Answer:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        endpoint = Endpoint(url, SecretValue(TOKEN), self.wire)
        async with ModelClient(endpoint, self.limits, sleep=sleep, share=lambda: 1.0) as client:
            return await client.ask(request, stream=stream, on_text=self.told.append)


@BOTH
@EITHER
async def test_an_answer_with_text_calls_and_usage(wire, stream):
    turn = Turn(
        "Voilà: 你好 🌍", (CALL, ToolCall("c2", "look", "{}")), Usage(100, 20, cache_read=30)
    )
    async with scripted(turn) as model:
        asking = Asking(wire)
        answer = await asking(model.url, stream=stream)
    assert (answer.text, answer.stop) == (turn.text, StopReason.TOOLS)
    assert [(c.id, c.name, c.parsed()) for c in answer.calls] == [
        (c.id, c.name, c.parsed()) for c in turn.calls
    ]
    assert answer.usage == turn.usage
    assert "".join(asking.told) == (turn.text if stream else "")


@BOTH
async def test_what_is_sent(wire):
    async with scripted(Turn("x")) as model:
        await Asking(wire)(model.url, stream=False)
    sent = model.asked[0]
    assert (sent.body["model"], sent.body["max_tokens"], sent.body["temperature"]) == (
        "m1",
        64,
        0.5,
    )
    if wire == "openai":
        assert sent.headers["Authorization"] == f"Bearer {TOKEN}"
        assert [m["role"] for m in sent.body["messages"]] == [
            *("system", "user", "assistant", "tool", "user")
        ]
        assert sent.body["messages"][3]["content"] == "error: seen"
    else:
        assert sent.headers["X-Api-Key"] == TOKEN
        assert sent.body["system"] == "be brief"
        assert [m["role"] for m in sent.body["messages"]] == ["user", "assistant", "user"]
        result, text = sent.body["messages"][2]["content"]
        assert (result["tool_use_id"], result["is_error"], text["text"]) == ("call-1", True, "and?")


STREAM_ONLY = {"silent": faults.ModelTimeoutError, "error-event": faults.ModelFailedError}
FAULTS = {
    "garbage": faults.MalformedAnswerError,
    "cut": faults.CutAnswerError,
    "endless": faults.OversizedAnswerError,
    "slow": faults.ModelTimeoutError,
    "silent": faults.ModelTimeoutError,
}


@BOTH
@EITHER
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_ends_in_its_error_after_one_try(wire, stream, fault):
    small = ModelLimits(tries=3, idle_s=0.3, whole_s=10, body_bytes=300_000)
    async with scripted(Turn("hello world", fault=fault), Turn("never asked")) as model:
        asking = Asking(wire, small)
        with pytest.raises(FAULTS[fault]) as caught:
            await asking(model.url, stream=stream)
        assert len(model.asked) == 1
        assert not asking.waits
        assert caught.value.where.startswith(model.url)
        assert TOKEN not in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("fault", "error"),
    [("no-end", faults.CutAnswerError), ("error-event", faults.ModelFailedError)],
)
async def test_a_stream_that_ends_otherwise_is_no_answer(wire, fault, error):
    async with scripted(Turn("hello world", fault=fault)) as model:
        with pytest.raises(error):
            await Asking(wire)(model.url, stream=True)


@BOTH
@EITHER
@pytest.mark.parametrize("turn", [Turn(status=503), Turn(status=429), Turn(fault="lost")])
async def test_what_failed_before_an_answer_is_tried_again_within_bounds(wire, stream, turn):
    async with scripted(turn, Turn("at last")) as model:
        asking = Asking(wire)
        assert (await asking(model.url, stream=stream)).text == "at last"
        assert asking.waits == [0.5]
    async with scripted(turn, turn, turn, Turn("never asked")) as model:
        asking = Asking(wire)
        with pytest.raises(faults.ModelError):
            await asking(model.url, stream=stream)
        assert (len(model.asked), asking.waits) == (3, [0.5, 1.0])


@BOTH
async def test_the_server_says_when(wire):
    async with scripted(Turn(status=429, headers={"Retry-After": "7"}), Turn("now")) as model:
        asking = Asking(wire)
        await asking(model.url, stream=True)
        assert asking.waits == [7.0]
    later = Turn(status=429, headers={"Retry-After": "9999"}, text="slow down")
    async with scripted(later, Turn("never asked")) as model:
        with pytest.raises(faults.RateLimitedError, match="slow down") as caught:
            await Asking(wire)(model.url, stream=True)
        assert caught.value.retry_after_s == 9999
        assert len(model.asked) == 1


@BOTH
@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (Turn(status=400, text="no such field"), faults.ModelRefusedError),
        (Turn(status=403, text="not for you"), faults.ModelRefusedError),
        (Turn(status=402, text="spent"), faults.BudgetSpentError),
        (Turn(status=307, headers={"Location": "/v1/messages"}), faults.ModelRefusedError),
    ],
)
async def test_a_refusal_is_not_tried_again_and_says_why(wire, turn, error):
    async with scripted(turn, Turn("never asked")) as model:
        with pytest.raises(error, match=turn.text or "redirect"):
            await Asking(wire)(model.url, stream=True)
        assert len(model.asked) == 1


@BOTH
@EITHER
async def test_huge_arguments_end_in_an_error_and_large_ones_do_not(wire, stream):
    async with scripted(huge_arguments(1000), huge_arguments(300_000)) as model:
        assert len((await Asking(wire)(model.url, stream=stream)).calls[0].arguments) > 1000
        with pytest.raises(faults.OversizedAnswerError):
            await Asking(wire)(model.url, stream=stream)


@BOTH
@EITHER
async def test_a_tool_that_was_not_offered(wire, stream):
    async with scripted(wrong_tool("l\u043e\u043ek".encode().hex())) as model:
        with pytest.raises(faults.UnknownToolError) as caught:
            await Asking(wire)(model.url, stream=stream)
        assert caught.value.answer.calls[0].name == caught.value.names[0]


@BOTH
@EITHER
@pytest.mark.parametrize("name", ["", "l\u043e\u043ek", "look\n", "../look", "x" * 200])
async def test_a_name_that_is_none(wire, stream, name):
    async with scripted(wrong_tool(name)) as model:
        with pytest.raises(faults.MalformedAnswerError):
            await Asking(wire)(model.url, stream=stream)


async def test_nobody_listens():
    asking = Asking("openai")
    with pytest.raises(faults.ModelUnreachableError, match="cannot connect"):
        await asking("http://127.0.0.1:9", stream=True)
    assert len(asking.waits) == 2


async def test_what_is_not_http():
    async with scripted(*[Turn(fault="not-http")] * 3) as model:
        with pytest.raises(faults.ModelError):
            await Asking("openai")(model.url, stream=True)


async def test_a_cancel_ends_the_call():
    async with scripted(Turn("hello", fault="slow")) as model:
        task = asyncio.create_task(Asking("openai", ModelLimits())(model.url, stream=True))
        await asyncio.wait_for(model.came.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_was_lost_in_mid_answer_is_not_asked_again():
    client = ModelClient(Endpoint("http://x", SecretValue(TOKEN)))
    assert isinstance(client._broken(ConnectionResetError(), begun=True), faults.CutAnswerError)
    again = client._broken(ConnectionResetError(), begun=False)
    assert not isinstance(again, faults.ModelError)


@EITHER
async def test_a_redirect_takes_no_token_elsewhere(stream):
    async with scripted(Turn("stolen")) as other:
        turn = Turn(status=307, headers={"Location": f"{other.url}/v1/chat/completions"})
        async with scripted(turn) as model:
            with pytest.raises(faults.ModelRefusedError, match="redirect"):
                await Asking("openai")(model.url, stream=stream)
        assert not other.asked


@BOTH
async def test_half_a_character_in_a_result_goes_to_no_server(wire):
    """Servers refuse it as no JSON; what stands around it, and whole characters, go as they are."""
    result = ToolResult("call-1", "a \ud83d b \ud83d\ude00 C:\\ud83d", failed=False)
    messages = (UserMessage("hello"), AssistantMessage("", (CALL,)), result)
    async with scripted(Turn("done")) as model:
        await Asking(wire)(model.url, stream=True, request=replace(REQUEST, messages=messages))
        sent = model.asked[0].body["messages"][-1]["content"]
    text = sent if wire == "openai" else sent[0]["content"]
    assert text == "a \ufffd b 😀 C:\\ud83d"
