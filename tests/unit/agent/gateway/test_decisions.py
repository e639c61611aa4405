"""Decisions on record: a row for what was decided, and none that stays for what was not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway_desk import FakeLog, Times, decision, policy

from agency.agent.gateway.calls.approvals import DecisionRefusedError, Question
from agency.agent.gateway.calls.auditing import Auditor, NotRecordedError
from agency.agent.gateway.calls.tools import ToolOffer, list_digest
from agency.agent.gateway.core import Gateway
from agency.agent.gateway.servers.running import Server
from agency.protocols import Receipt

DIGEST = "d" * 64
OFFERS = (ToolOffer("echo", "", {"type": "object"}, None),)


class SlowLog(FakeLog):
    """An audit log during whose row something else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Any = lambda: None

    async def record(self, event: str, detail: dict[str, Any]) -> Receipt:
        receipt = await super().record(event, detail)
        await asyncio.sleep(0)
        self.meanwhile()
        return receipt


@pytest.fixture
def log() -> SlowLog:
    return SlowLog()


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
async def gateway(tmp_path: Path, log: SlowLog, times: Times) -> AsyncIterator[Gateway]:
    found = Gateway("pm", tmp_path / "gateway", times.clock(), Auditor(log, pause_s=0))
    found.dispatcher.set_policy(policy({"read": ("files/read", "ask")}))
    yield found
    await found.close()


def ask(gateway: Gateway) -> str:
    now = gateway.dispatcher.policy
    assert now is not None
    question = Question("call", "files/read", DIGEST, now.sha256, "read", "{}", None)
    return gateway.approvals.ask(question, 600)


def offered(gateway: Gateway) -> Server:
    """A server that offers one tool; it does not run."""
    servers = gateway.servers
    found = Server(
        "web", "spec", lambda _: pytest.fail("not run"), servers.acceptances, servers.clock,
        lambda *_: None, str,
    )  # fmt: skip
    found._offers = OFFERS
    servers._servers["web"] = found
    return found


async def test_a_decision_is_on_record_once_and_before_it_counts(gateway, log) -> None:
    approval = ask(gateway)
    states = []
    log.meanwhile = lambda: states.append(gateway.approvals.find(approval).state)
    await gateway.decide(approval, decision(DIGEST, "deny"))
    assert states == ["pending"]
    assert gateway.approvals.find(approval).state == "denied"
    assert [(event, detail["decision"]) for event, detail in log.rows] == [
        ("approval.decided", "deny")
    ]


async def test_what_is_refused_is_not_on_record_as_decided(gateway, log) -> None:
    approval = ask(gateway)
    for name, digest in ((approval, "e" * 64), ("ask-none", DIGEST)):
        with pytest.raises(DecisionRefusedError):
            await gateway.decide(name, decision(digest))
    assert log.rows == []
    await gateway.decide(approval, decision(DIGEST, "deny"))
    with pytest.raises(DecisionRefusedError, match="decided already: denied"):
        await gateway.decide(approval, decision(DIGEST, "approve"))
    assert [detail["decision"] for _, detail in log.rows] == ["deny"]


async def test_of_two_decisions_at_once_one_is_on_record(gateway, log) -> None:
    approval = ask(gateway)
    done = await asyncio.gather(
        *(gateway.decide(approval, decision(DIGEST, word)) for word in ("deny", "approve")),
        return_exceptions=True,
    )
    assert [type(each) for each in done] == [type(None), DecisionRefusedError]
    assert [(event, detail["decision"]) for event, detail in log.rows] == [
        ("approval.decided", "deny")
    ]


@pytest.mark.parametrize("how", ["expired", "policy", "disk"])
async def test_a_row_of_what_was_not_decided_after_all_is_taken_back(
    gateway, log, times, how, monkeypatch
) -> None:
    """It expires, or its policy goes, or the journal's disk is full, while its row is written."""
    approval = ask(gateway)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    log.meanwhile = {
        "expired": lambda: times.pass_(601),
        "policy": lambda: gateway.approvals.keep_only("another"),
        "disk": lambda: monkeypatch.setattr(gateway.journal, "add", full),
    }[how]
    with pytest.raises(OSError if how == "disk" else DecisionRefusedError):
        await gateway.decide(approval, decision(DIGEST))
    monkeypatch.undo()
    assert log.events == ["approval.decided", "approval.not-decided"]
    assert log.rows[0][1] == log.rows[1][1]


async def test_tools_are_accepted_after_their_row_and_by_their_digest_alone(gateway, log) -> None:
    server = offered(gateway)
    assert not await gateway.accept("web", "0" * 64)
    assert not await gateway.accept("other", list_digest(OFFERS))
    assert log.rows == []
    assert await gateway.accept("web", list_digest(OFFERS))
    assert log.rows == [("server.accepted", {"server": "web", "tools": list_digest(OFFERS)})]
    assert [tool.full for tool in server.tools] == ["web/echo"]
    log.leave()
    with pytest.raises(NotRecordedError):
        await gateway.accept("web", list_digest(OFFERS))


async def test_a_row_of_tools_that_changed_meanwhile_is_taken_back(gateway, log) -> None:
    server = offered(gateway)
    log.meanwhile = lambda: setattr(server, "_offers", ())
    assert not await gateway.accept("web", list_digest(OFFERS))
    assert log.events == ["server.accepted", "server.not-accepted"]
    assert server.tools == ()
