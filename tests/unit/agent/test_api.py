"""Version 1 of ACP as an agent serves it, over real HTTP on loopback."""

import asyncio
import json
import os

import pytest

from agency.agent.tasks import TooManyTasksError
from agency.canonical import sha256_hex
from agency.clock import Clock, iso
from agency.errors import AgencyError
from agency.protocols import (
    ENDPOINTS,
    MAX_BODY,
    MAX_DOCUMENT,
    MAX_TASKS,
    TRACE_HEADER,
    AgentEvent,
    AgentStatus,
    ConfigApplied,
    ConfigDocument,
    Health,
    SecretsHeld,
    TasksCancelled,
)
from agency.secrets import SecretValue

DOCUMENT = b"name: pm\npersona: careful\n"
CHANGES = [each for each in ENDPOINTS if each.request is not None]
NOT_YET = {
    "decideApproval": {"decision": "approve", "digest": "0" * 64, "decided_by": "@bob:agency.test"},
    "callTool": {"tool": "web/open", "arguments": {}},
    "leaseSecrets": {"leases": []},
}


def applying(content: bytes = DOCUMENT) -> dict[str, str]:
    return ConfigDocument.of(content).model_dump()


def leasing(name: str, version: int = 1, *, expires: float = 4e9) -> dict[str, object]:
    token = f"redemption-token-of-{name}"
    lease = {"id": f"lease-{name}", "name": name, "version": version, "token": token}
    return {**lease, "expires_at": iso(expires)}


async def status_of(agent) -> AgentStatus:
    said = await agent.caller.ask("GET", "/v1/status")
    assert said.status == 200
    return AgentStatus.model_validate_json(said.body)


async def test_health_and_status(agent):
    said = await agent.caller.ask("GET", "/v1/health")
    assert Health.model_validate_json(said.body) == Health(status="ok", agent="pm")
    status = await status_of(agent)
    assert (status.agent, status.role, status.project) == ("pm", "pm", "new-app")
    assert (status.pid, status.trace) == (os.getpid(), "trace-1")
    assert (status.config_sha256, status.secrets, status.tasks) == (None, (), ())
    assert status.mcp_servers == ()
    assert status.incarnation == agent.state.incarnation


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
async def test_every_endpoint_wants_the_token(agent, endpoint):
    agent.caller.token = "another-token"
    said = await agent.caller.ask(endpoint.method, endpoint.path.replace("{id}", "a"), json={})
    assert said.status == 401
    assert "bearer token" in said.problem.error


async def test_a_document_is_held_and_the_same_again_changes_nothing(agent):
    for changed in (True, False):
        said = await agent.caller.ask("PUT", "/v1/config", json=applying())
        assert said.status == 200
        assert ConfigApplied.model_validate_json(said.body) == ConfigApplied(
            agent="pm", sha256=sha256_hex(DOCUMENT), changed=changed
        )
    assert (await status_of(agent)).config_sha256 == sha256_hex(DOCUMENT)
    assert agent.state.config == DOCUMENT


async def test_bytes_of_another_hash_are_not_held(agent):
    await agent.caller.ask("PUT", "/v1/config", json=applying())
    forged = {**applying(b"other"), "sha256": sha256_hex(DOCUMENT + b" ")}
    said = await agent.caller.ask("PUT", "/v1/config", json=forged)
    assert (said.status, said.problem.code) == (422, "hash-differs")
    assert agent.state.config == DOCUMENT


async def test_a_document_has_a_limit(agent):
    for size, status in ((MAX_DOCUMENT, 200), (MAX_DOCUMENT + 4, 422)):
        said = await agent.caller.ask("PUT", "/v1/config", json=applying_unchecked(b"x" * size))
        assert said.status == status
    assert agent.state.config == b"x" * MAX_DOCUMENT


def applying_unchecked(content: bytes) -> dict[str, str]:
    import base64

    return {"document": base64.b64encode(content).decode(), "sha256": sha256_hex(content)}


async def test_a_document_that_the_agent_cannot_hold_is_refused(agents):
    def check(content: bytes) -> None:
        if b"persona" not in content:
            raise ValueError("persona: is missing")

    async with agents(check_config=check) as agent:
        said = await agent.caller.ask("PUT", "/v1/config", json=applying(b"x"))
        assert (said.status, said.problem.code) == (422, "config-refused")
        assert said.problem.error == "persona: is missing"
        assert agent.state.config is None
        assert (await agent.caller.ask("PUT", "/v1/config", json=applying())).status == 200


@pytest.mark.parametrize("endpoint", CHANGES, ids=lambda each: each.name)
@pytest.mark.parametrize("key", [None, "short", "x" * 65, "with space here", "ümlaut-key"])
async def test_a_change_needs_a_key(agent, endpoint, key):
    path = endpoint.path.replace("{id}", "a")
    said = await agent.caller.ask(endpoint.method, path, key=key, json=applying())
    assert (said.status, said.problem.code) == (400, "key-missing")


async def test_a_repeated_key_gets_the_same_answer_and_does_nothing(agent):
    first = await agent.caller.ask("PUT", "/v1/config", key="key-0001", json=applying())
    agent.state.config = b"changed since"
    again = await agent.caller.ask("PUT", "/v1/config", key="key-0001", json=applying())
    assert (again.status, again.body) == (first.status, first.body)
    assert agent.state.config == b"changed since", "it was not applied a second time"
    fresh = await agent.caller.ask("PUT", "/v1/config", key="key-0002", json=applying())
    assert ConfigApplied.model_validate_json(fresh.body).changed


async def test_a_key_belongs_to_one_path_and_body(agent):
    await agent.caller.ask("PUT", "/v1/config", key="key-0001", json=applying())
    for method, path, body in (
        ("PUT", "/v1/config", applying(b"other")),
        ("PUT", "/v1/config?x=1", applying()),
        ("POST", "/v1/process/restart", {}),
    ):
        said = await agent.caller.ask(method, path, key="key-0001", json=body)
        assert (said.status, said.problem.code) == (422, "key-reused")
    assert not agent.state.restart.is_set()
    assert agent.state.config == DOCUMENT


async def test_a_retry_while_the_first_runs_waits_for_its_answer(agents):
    begun, release, redeemed = asyncio.Event(), asyncio.Event(), []

    async def redeem(lease):
        redeemed.append(lease.name)
        begun.set()
        await release.wait()
        return SecretValue("canary-value")

    async with agents(redeem=redeem) as agent:
        body = {"leases": [leasing("mail")]}
        asks = [
            asyncio.create_task(
                agent.caller.ask("POST", "/v1/secrets/lease", key="key-0001", json=body)
            )
            for _ in range(3)
        ]
        await begun.wait()
        asks[0].cancel()  # a caller that gave up; the work goes on
        await asyncio.sleep(0.05)
        release.set()
        said = await asyncio.gather(*asks[1:])
    assert redeemed == ["mail"], "a redemption token works once"
    assert [each.status for each in said] == [200, 200]


async def test_secrets_are_held_and_never_told(agents):
    async def redeem(lease):
        return SecretValue(f"canary-{lease.name}")

    async with agents(redeem=redeem) as agent:
        body = {"leases": [leasing("mail", 3), leasing("model")]}
        said = await agent.caller.ask("POST", "/v1/secrets/lease", json=body)
        held = SecretsHeld.model_validate_json(said.body).secrets
        assert [(each.name, each.version) for each in held] == [("mail", 3), ("model", 1)]
        assert (await status_of(agent)).secrets == held
        assert agent.state.secrets.value("mail").reveal() == "canary-mail"
        status = await agent.caller.ask("GET", "/v1/status")
        assert b"canary" not in said.body + status.body
        assert b"redemption-token" not in said.body + status.body


@pytest.mark.parametrize("fault", ["refused", "slow", "expired"])
async def test_if_one_lease_fails_the_old_set_is_kept(agents, fault):
    async def redeem(lease):
        if lease.name == "model" and fault == "refused":
            raise AgencyError("410 gone: redemption-token-of-model")
        if lease.name == "model" and fault == "slow":
            raise TimeoutError
        return SecretValue(f"canary-{lease.name}")

    async with agents(redeem=redeem) as agent:
        first = await agent.caller.ask(
            "POST", "/v1/secrets/lease", json={"leases": [leasing("mail", 1)]}
        )
        assert first.status == 200
        expires = 1.0 if fault == "expired" else 4e9
        body = {"leases": [leasing("mail", 2), leasing("model", expires=expires)]}
        said = await agent.caller.ask("POST", "/v1/secrets/lease", json=body)
        assert (said.status, said.problem.code) == (502, "lease-failed")
        assert said.problem.failed == ("model",)
        assert b"redemption-token" not in said.body
        held = (await status_of(agent)).secrets
        assert [(each.name, each.version) for each in held] == [("mail", 1)]


async def test_an_expired_secret_is_gone(agents):
    now = [1_700_000_000.0]

    async def redeem(lease):
        return SecretValue("canary-value")

    async with agents(redeem=redeem, clock=Clock(wall=lambda: now[0])) as agent:
        body = {"leases": [leasing("mail", expires=now[0] + 60)]}
        assert (await agent.caller.ask("POST", "/v1/secrets/lease", json=body)).status == 200
        assert agent.state.secrets.value("mail") is not None
        now[0] += 61
        assert (await status_of(agent)).secrets == ()
        assert agent.state.secrets.value("mail") is None


@pytest.mark.parametrize("name", sorted(NOT_YET))
async def test_what_nothing_stands_behind_says_so(agent, name):
    endpoint = next(each for each in ENDPOINTS if each.name == name)
    path = endpoint.path.replace("{id}", "approval-1")
    for _ in range(2):
        said = await agent.caller.ask("POST", path, key="key-0001", json=NOT_YET[name])
        assert (said.status, said.problem.code) == (501, "not-implemented")
    said = await agent.caller.ask("GET", "/v1/approvals")
    assert (said.status, said.problem.code) == (501, "not-implemented")


@pytest.mark.parametrize("path_id", ["a%20b", "a%2Fb", "%C3%A9", "x" * 65, "-a"])
async def test_what_can_be_no_id_is_the_id_of_nothing(agent, path_id):
    said = await agent.caller.ask(
        "POST", f"/v1/approvals/{path_id}/decision", json=NOT_YET["decideApproval"]
    )
    assert (said.status, said.problem.code) == (404, "unknown")


async def test_a_cancel_ends_the_work(agent):
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    one = agent.state.tasks.start("read the mail", work, trace="trace-7")
    other = agent.state.tasks.start("write the report", work)
    await asyncio.sleep(0)
    assert [(t.id, t.state) for t in (await status_of(agent)).tasks] == [
        (one, "running"),
        (other, "running"),
    ]
    said = await agent.caller.ask("POST", "/v1/tasks/cancel", json={"id": one})
    cancelled = TasksCancelled.model_validate_json(said.body).tasks
    assert [(t.id, t.state, t.trace) for t in cancelled] == [(one, "cancelled", "trace-7")]
    assert ended.is_set()
    assert [t.id for t in (await status_of(agent)).tasks] == [other]
    again = await agent.caller.ask("POST", "/v1/tasks/cancel", json={"id": one})
    assert (again.status, again.problem.code) == (409, "ended")
    unknown = await agent.caller.ask("POST", "/v1/tasks/cancel", json={"id": "task-unknown"})
    assert (unknown.status, unknown.problem.code) == (404, "unknown")
    rest = await agent.caller.ask("POST", "/v1/tasks/cancel", json={"id": None})
    assert [t.id for t in TasksCancelled.model_validate_json(rest.body).tasks] == [other]
    none = await agent.caller.ask("POST", "/v1/tasks/cancel", json={})
    assert TasksCancelled.model_validate_json(none.body).tasks == ()


async def test_tasks_have_a_bound(agent):
    for _ in range(MAX_TASKS):
        agent.state.tasks.start("wait", lambda: asyncio.sleep(3600))
    with pytest.raises(TooManyTasksError):
        agent.state.tasks.start("wait", lambda: asyncio.sleep(3600))
    assert len((await status_of(agent)).tasks) == MAX_TASKS


async def test_events_tell_what_happens(agent):
    events: list[AgentEvent] = []
    url, headers = agent.caller.url, {"Authorization": f"Bearer {agent.caller.token}"}
    trace = {TRACE_HEADER: "trace-9"}
    async with agent.caller.session.get(f"{url}/v1/events", headers=headers) as stream:
        assert stream.content_type == "text/event-stream"
        await agent.caller.ask("PUT", "/v1/config", json=applying(), headers=trace)
        agent.state.tasks.start("a task", lambda: asyncio.sleep(0))
        await agent.caller.ask("POST", "/v1/process/restart", json={})
        async with asyncio.timeout(20):
            while len(events) < 4:
                line = await stream.content.readline()
                if line.startswith(b"data: "):
                    events.append(AgentEvent.model_validate_json(line[6:]))
    kinds = [(each.kind, each.task and each.task.state) for each in events]
    assert kinds[0] == ("config.applied", None)
    assert kinds[1] == ("task.state", "running")
    assert sorted(map(str, kinds[2:])) == ["('restart.asked', None)", "('task.state', 'done')"]
    assert [each.sequence for each in events] == [1, 2, 3, 4]
    assert (events[0].trace, events[0].config_sha256) == ("trace-9", sha256_hex(DOCUMENT))


async def test_listeners_have_a_bound(agent):
    url, headers = agent.caller.url, {"Authorization": f"Bearer {agent.caller.token}"}
    streams = [
        await agent.caller.session.get(f"{url}/v1/events", headers=headers) for _ in range(8)
    ]
    assert [each.status for each in streams] == [200] * 8
    assert (await agent.caller.ask("GET", "/v1/events")).status == 503
    for each in streams:
        each.close()


async def test_the_trace_comes_back(agent):
    for sent, told in (("trace-0a1b", "trace-0a1b"), ("not a trace", None)):
        said = await agent.caller.ask("GET", "/v1/status", headers={TRACE_HEADER: sent})
        assert said.headers.get(TRACE_HEADER) == told


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"id": "task-1", "id": "task-2"}', "application/json", 400),
        (b'"task-1"', "application/json", 422),
        (b'{"id": 7}', "application/json", 422),
        (b'{"id": "a b"}', "application/json", 422),
        (b'{"more": 1}', "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "application/json", 200),
    ],
)
async def test_what_is_no_message_is_refused(agent, data, kind, status):
    headers = {"Content-Type": kind}
    said = await agent.caller.ask("POST", "/v1/tasks/cancel", data=data, headers=headers)
    assert said.status == status


async def test_a_refusal_does_not_repeat_a_token(agent):
    lease = {**leasing("mail"), "token": "canary token with spaces"}
    said = await agent.caller.ask("POST", "/v1/secrets/lease", json={"leases": [lease]})
    assert said.status == 422
    assert said.problem.error == "leases.0.token: string_pattern_mismatch"
    twice = {"leases": [leasing("mail"), leasing("mail", 2)]}
    said = await agent.caller.ask("POST", "/v1/secrets/lease", json=twice)
    assert said.status == 422
    assert b"redemption-token" not in said.body


async def test_a_body_that_is_too_long_or_too_slow_is_refused(agents):
    async def slowly():
        yield json.dumps(applying()).encode()[:10]
        await asyncio.sleep(5)
        yield b"never read"

    headers = {"Content-Type": "application/json"}
    async with agents(body_s=0.2) as agent:
        long = await agent.caller.ask("PUT", "/v1/config", data=b" " * (MAX_BODY + 1))
        assert long.status == 413
        async with asyncio.timeout(4):
            slow = await agent.caller.ask("PUT", "/v1/config", data=slowly(), headers=headers)
        assert slow.status == 408
        assert (await agent.caller.ask("PUT", "/v1/config", json=applying())).status == 200
