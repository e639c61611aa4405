"""Changes by the ACP client: one key for all retries, and agents that are slow, wrong or lie."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agency.agent.server import build_app
from agency.agent.state import AgentState
from agency.canonical import sha256_hex
from agency.clock import Clock, iso
from agency.control.acp_client import (
    AcpClient,
    AcpError,
    AcpLieError,
    AcpRefusedError,
    AcpUnreachableError,
)
from agency.control.acp_transport import parsed
from agency.control.runtimes.base import Endpoint
from agency.errors import AgencyError
from agency.matrix import Backoff
from agency.protocols import (
    MAX_BODY,
    AgentConfig,
    ApprovalDecision,
    HeldSecret,
    LeaseOffer,
    PendingApproval,
    SecretLease,
    ToolCall,
    milliseconds,
)
from agency.secrets import SecretValue

CONFIG = AgentConfig(name="pm", role="pm", port=20001, trace="trace-start")
TRACE = "trace-1"
DOCUMENT = b"name: pm\n"
HASH = sha256_hex(DOCUMENT)
REDEMPTION = "redemption-token-canary"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def token() -> str:
    return secrets.token_urlsafe()


@asynccontextmanager
async def serving(app: web.Application, token: str) -> AsyncIterator[Endpoint]:
    async with TestServer(app, host="127.0.0.1") as server:
        yield Endpoint(f"http://127.0.0.1:{server.port}", token, "pm")


@asynccontextmanager
async def real(token: str, **parts) -> AsyncIterator[tuple[AgentState, Endpoint]]:
    state = AgentState("pm", Clock(), **parts)
    async with serving(build_app(CONFIG, token, Clock(), state=state), token) as endpoint:
        yield state, endpoint


@asynccontextmanager
async def faulty(token: str, *answers: Answer) -> AsyncIterator[tuple[list[str], Endpoint]]:
    """A real agent whose first answers to changes are spoiled: it acts, then `answers` speak.

    Yields the idempotency keys that arrived.
    """
    keys: list[str] = []
    left = list(answers)

    @web.middleware
    async def spoil(request: web.Request, handler) -> web.StreamResponse:
        if request.method == "GET":
            return await handler(request)
        keys.append(request.headers["Idempotency-Key"])
        said = await handler(request)
        return await left.pop(0)(request) if left else said

    app = build_app(CONFIG, token, Clock())
    app.middlewares.append(spoil)
    async with serving(app, token) as endpoint:
        yield keys, endpoint


def client(**options) -> AcpClient:
    options = {"timeout_s": 20, "backoff": Backoff(first_s=0.01, longest_s=0.02), **options}
    return AcpClient(**options)


def offer(*names: str) -> LeaseOffer:
    return LeaseOffer(
        leases=tuple(
            SecretLease(
                id=f"lease-{name}", name=name, version=1, token=REDEMPTION, expires_at=iso(4e9)
            )
            for name in names
        )
    )


def saying(body: object, status: int = 200) -> Answer:
    async def say(_: web.Request) -> web.StreamResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=data, status=status, content_type="application/json")

    return say


async def cut_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


async def be_slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(1.5)
    return web.Response()


async def be_busy(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503, body=b'{"error": "busy", "code": "full"}')


async def test_every_change_against_a_real_agent(token: str) -> None:
    async def redeem(lease: SecretLease) -> SecretValue:
        return SecretValue(f"value-of-{lease.token}")

    async with real(token, redeem=redeem) as (state, endpoint), client() as acp:
        assert (await acp.apply(endpoint, TRACE, DOCUMENT)).changed
        assert not (await acp.apply(endpoint, TRACE, DOCUMENT)).changed
        held = await acp.lease(endpoint, TRACE, offer("mail", "model"))
        assert [each.name for each in held.secrets] == ["mail", "model"]
        task = state.tasks.start("wait", lambda: asyncio.sleep(3600), trace=TRACE)
        await asyncio.sleep(0)
        assert [t.id for t in (await acp.report(endpoint, TRACE)).tasks] == [task]
        assert [t.state for t in (await acp.cancel(endpoint, TRACE, task)).tasks] == ["cancelled"]
        with pytest.raises(AcpRefusedError, match="no task") as caught:
            await acp.cancel(endpoint, TRACE, "task-unknown")
        assert (caught.value.status, caught.value.code) == (404, "unknown")
        assert (await acp.restart(endpoint, TRACE)).incarnation == state.incarnation
        assert state.restart.is_set()


async def test_what_is_not_there_yet_is_an_error_of_its_code(token: str) -> None:
    decision = ApprovalDecision(decision="deny", digest="0" * 64, decided_by="@bob:agency.test")
    async with real(token) as (_, endpoint), client() as acp:
        for call in (
            lambda: acp.approvals(endpoint, TRACE),
            lambda: acp.decide(endpoint, TRACE, "approval-1", decision),
            lambda: acp.call_tool(endpoint, TRACE, ToolCall(tool="web/open", arguments={})),
            lambda: acp.lease(endpoint, TRACE, offer("mail")),
        ):
            with pytest.raises(
                AcpRefusedError, match=r"nothing stands behind|has no tool gateway"
            ) as caught:
                await call()
            assert (caught.value.status, caught.value.code) == (501, "not-implemented")


@pytest.mark.parametrize("fault", [cut_off, break_off, be_slow, be_busy])
async def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    token: str, fault: Answer
) -> None:
    async with faulty(token, fault, fault) as (keys, endpoint), client(timeout_s=0.5) as acp:
        assert (await acp.apply(endpoint, TRACE, DOCUMENT)).changed, "the first answer, kept"
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_each_change_has_a_key_of_its_own_unless_given(token: str) -> None:
    async with faulty(token) as (keys, endpoint), client() as acp:
        for key in (None, None, "key-of-mine"):
            await acp.apply(endpoint, TRACE, DOCUMENT, key=key)
    assert len(set(keys)) == 3
    assert keys[2] == "key-of-mine"


async def test_retries_end(token: str) -> None:
    async with faulty(token, *[cut_off] * 9) as (keys, endpoint), client() as acp:
        with pytest.raises(AcpUnreachableError):
            await acp.restart(endpoint, TRACE)  # a POST: aiohttp itself sends a PUT twice
    assert len(keys) == 4


async def test_the_deadline_holds_for_all_retries_together(token: str) -> None:
    now = 0.0

    async def be_busy_for_long(request: web.Request) -> web.StreamResponse:
        nonlocal now
        now += 49.8
        return await be_busy(request)

    async def hang(request: web.Request) -> web.StreamResponse:
        nonlocal now
        now += 1
        await asyncio.sleep(60)
        return web.Response()

    clock = Clock(steady=lambda: now)
    async with (
        faulty(token, be_busy_for_long, hang) as (keys, endpoint),
        client(timeout_s=40, deadline_s=50, clock=clock) as acp,
        asyncio.timeout(20),  # of 40: the second exchange has what is left of the deadline, 0.2 s
    ):
        with pytest.raises(AcpUnreachableError):
            await acp.apply(endpoint, TRACE, DOCUMENT)
        assert len(keys) == 2, "no third attempt: the deadline has passed"


@pytest.mark.parametrize(
    "answer",
    [
        saying(b"<html>"),
        saying({"agent": "pm", "sha256": HASH}),
        saying({"agent": "developer", "sha256": HASH, "changed": True}),
        saying(b'{"agent": "pm", "agent": "pm", "sha256": "' + HASH.encode() + b'"}'),
        saying(b" " * (MAX_BODY + 1)),
        saying({"agent": "pm", "sha256": HASH, "changed": True}, status=202),
        saying({"error": "no"}, status=422),
    ],
    ids=["html", "short", "another", "twice", "huge", "status", "refused"],
)
async def test_a_wrong_answer_is_refused_at_once(token: str, answer: Answer) -> None:
    async with faulty(token, answer) as (keys, endpoint), client() as acp:
        with pytest.raises(AcpError):
            await acp.apply(endpoint, TRACE, DOCUMENT)
        assert len(keys) == 1, "what it says will not be better a moment later"
        assert (await acp.apply(endpoint, TRACE, DOCUMENT)).sha256 == HASH


async def test_a_redirect_takes_neither_token_nor_document_elsewhere(token: str) -> None:
    visited: list[str] = []

    async def note(request: web.Request) -> web.Response:
        visited.append(request.path)
        return web.Response(body=b"{}")

    elsewhere = web.Application()
    elsewhere.router.add_route("*", "/{path:.*}", note)
    async with serving(elsewhere, token) as other:

        async def redirect(_: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(other.url + "/v1/config")

        async with faulty(token, redirect) as (_, endpoint), client() as acp:
            with pytest.raises(AcpRefusedError) as caught:
                await acp.apply(endpoint, TRACE, DOCUMENT)
    assert caught.value.status == 307
    assert visited == []


async def test_an_agent_that_lies_about_its_hash_is_noticed(token: str) -> None:
    lie = saying({"agent": "pm", "sha256": "0" * 64, "changed": True})
    async with faulty(token, lie) as (_, endpoint), client() as acp:
        with pytest.raises(AcpLieError, match="0000"):
            await acp.apply(endpoint, TRACE, DOCUMENT)


async def test_an_agent_that_says_done_and_does_nothing_is_noticed(token: str) -> None:
    idle = True

    @web.middleware
    async def say_done(request: web.Request, handler) -> web.StreamResponse:
        if request.method == "GET" or not idle:
            return await handler(request)
        return await saying({"agent": "pm", "sha256": HASH, "changed": True})(request)

    app = build_app(CONFIG, token, Clock())
    app.middlewares.append(say_done)
    async with serving(app, token) as endpoint, client() as acp:
        with pytest.raises(AcpLieError, match=f"nothing, and was given {HASH}"):
            await acp.apply(endpoint, TRACE, DOCUMENT)
        idle = False
        assert (await acp.apply(endpoint, TRACE, DOCUMENT)).changed


async def test_an_agent_that_holds_another_set_of_secrets_is_noticed(token: str) -> None:
    lie = saying({"agent": "pm", "secrets": []})
    async with faulty(token, lie) as (_, endpoint), client() as acp:
        with pytest.raises(AcpLieError, match="another set"):
            await acp.lease(endpoint, TRACE, offer("mail"))


async def test_failed_leases_are_named(token: str) -> None:
    async def redeem(lease: SecretLease) -> SecretValue:
        if lease.name == "model":
            raise AgencyError("gone")
        return SecretValue("a value")

    async with real(token, redeem=redeem) as (_, endpoint), client() as acp:
        with pytest.raises(AcpRefusedError, match="1 of 2") as caught:
            await acp.lease(endpoint, TRACE, offer("mail", "model"))
    assert caught.value.failed == ("model",)


async def test_no_error_repeats_a_token(token: str) -> None:
    parrot = saying({"error": f"no: {token} and {REDEMPTION}"}, status=400)
    async with faulty(token, parrot) as (_, endpoint), client() as acp:
        with pytest.raises(AcpRefusedError, match="400: no") as caught:
            await acp.lease(endpoint, TRACE, offer("mail"))
    for shown in (str(caught.value), repr(caught.value), repr(offer("mail"))):
        assert token not in shown
        assert REDEMPTION not in shown


async def test_events_arrive_in_order(token: str) -> None:
    async with real(token) as (state, endpoint), client() as acp:
        events = acp.events(endpoint, TRACE)
        first = asyncio.ensure_future(anext(events))
        async with asyncio.timeout(20):
            while state.events.listeners == 0:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            await acp.apply(endpoint, TRACE, DOCUMENT)
            assert ((await first).kind, first.result().config_sha256) == ("config.applied", HASH)
            await acp.restart(endpoint, "trace-2")
            second = await anext(events)
        assert (second.kind, second.sequence, second.trace) == ("restart.asked", 2, "trace-2")
        await events.aclose()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"data: {}\n\n", "malformed AgentEvent"),
        (b"data: " + b"x" * 20_000, "too long"),
        (b"data: " + b"x" * 20_000 + b"\n\n", "too long"),
    ],
)
async def test_events_that_are_none_are_refused(token: str, lines: bytes, message: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": still here\n\n" + lines)
        return response

    app = web.Application()
    app.router.add_get("/v1/events", answer)
    async with serving(app, token) as endpoint, client() as acp:
        with pytest.raises(AcpError, match=message):
            await anext(acp.events(endpoint, TRACE))


@pytest.mark.parametrize(
    "kind",
    [
        HeldSecret(name="github", version=1, expires_at=iso(4e9)),
        PendingApproval(
            id="a-1", tool="web/post", digest="a" * 64, asked_at=iso(0), expires_at=iso(4e9)
        ),
    ],
    ids=lambda kind: type(kind).__name__,
)
@pytest.mark.parametrize(
    "moment", ["2026-99-99T99:99Z", "2026-02-30T00:00:00Z", "2026-02-03T04:05"]
)
def test_a_moment_is_one_before_anybody_computes_with_it(
    kind: HeldSecret | PendingApproval, moment: str
) -> None:
    said = kind.model_dump_json()
    assert milliseconds(parsed("http://x", type(kind), said.encode()).expires_at) == 4 * 10**12
    with pytest.raises(AcpError, match="expires_at: value_error"):
        parsed("http://x", type(kind), said.replace(iso(4e9), moment).encode())


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"]
)
def test_the_first_and_the_last_moment_can_be_computed_with(moment: str) -> None:
    said = HeldSecret(name="github", version=1, expires_at=moment)
    assert abs(milliseconds(said.expires_at)) < 2**63
