"""What the gateway keeps on disk: journal, approvals, accepted lists; and its audit rows."""

import asyncio
import json
from pathlib import Path

import pytest
from gateway_desk import ALICE, FakeLog, Times

from agency.agent.gateway.calls.approvals import (
    Approvals,
    DecisionRefusedError,
    Question,
    TooManyApprovalsError,
)
from agency.agent.gateway.calls.auditing import Auditor, NotRecordedError
from agency.agent.gateway.calls.journal import Begun, Ended, Journal
from agency.agent.gateway.calls.tools import ToolOffer
from agency.agent.gateway.servers.acceptance import Acceptances, difference
from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.protocols import MAX_APPROVALS, ApprovalDecision, AuditRefusedError


def begun(number: int) -> Begun:
    return Begun(id=f"call-{number}", tool="web/echo", digest=f"{number:064}", at=float(number))


def question(digest: str = "a" * 64, policy: str = "p") -> Question:
    return Question("call", "web/echo", digest, policy, "rule", "{}", "t-1")


def decision(word: str = "approve", digest: str = "a" * 64) -> ApprovalDecision:
    return ApprovalDecision.model_validate(
        {"decision": word, "digest": digest, "decided_by": ALICE}
    )


def test_a_journal_tells_what_was_begun_and_has_no_end(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.add(begun(number))
    journal.add(Ended(id="call-1"))
    assert list(Journal(path).left.calls) == ["call-0", "call-2"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_by_an_end_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    Journal(path).add(begun(1))
    with path.open("a") as file:
        file.write('{"kind": "begun", "id": "call-2", "to')
    again = Journal(path)
    assert list(again.left.calls) == ["call-1"]
    again.add(begun(3))
    assert list(Journal(path).left.calls) == ["call-1", "call-3"]


def test_a_journal_that_was_damaged_stops_the_gateway(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    Journal(path).add(begun(1))
    path.write_text("not a line\n" + path.read_text())
    with pytest.raises(BadInputError, match="cannot be read") as caught:
        Journal(path)
    assert caught.value.where == f"{path}:1"


def test_a_journal_that_others_may_read_stops_the_gateway(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    Journal(path)
    path.chmod(0o644)
    with pytest.raises(PrerequisiteError):
        Journal(path)


def test_a_journal_is_written_anew_before_it_is_large(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("agency.agent.gateway.calls.journal._REWRITE_BYTES", 2000)
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    journal.add(begun(999))
    for number in range(100):
        journal.add(begun(number))
        journal.add(Ended(id=f"call-{number}"))
    assert path.stat().st_size < 4000
    assert list(Journal(path).left.calls) == ["call-999"]


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def approvals(tmp_path: Path, times: Times) -> Approvals:
    return Approvals(Journal(tmp_path / "calls.jsonl"), times.clock())


def test_a_decision_is_bound_to_the_digest_and_taken_once(approvals: Approvals) -> None:
    asked = approvals.ask(question(), 60)
    for approval, digest, status, code in (
        ("ask-other", "a" * 64, 404, "unknown"),
        (asked, "b" * 64, 409, "hash-differs"),
    ):
        with pytest.raises(DecisionRefusedError) as caught:
            approvals.decide(approval, decision(digest=digest))
        assert (caught.value.status, caught.value.code) == (status, code)
    assert approvals.outcome(asked) is None
    approvals.decide(asked, decision("deny"))
    with pytest.raises(DecisionRefusedError) as caught:
        approvals.decide(asked, decision())
    assert (caught.value.status, caught.value.code) == (409, "ended")
    assert approvals.outcome(asked) == "denied"


def test_an_approval_is_used_once_and_for_its_digest(approvals: Approvals) -> None:
    asked = approvals.ask(question(), 60)
    assert not approvals.use(asked, "a" * 64)  # not decided
    approvals.decide(asked, decision())
    assert not approvals.use(asked, "b" * 64)
    assert approvals.use(asked, "a" * 64)
    assert not approvals.use(asked, "a" * 64)


@pytest.mark.parametrize(("wall", "steady"), [(61.0, 0.0), (0.0, 61.0), (-3600.0, 61.0)])
async def test_an_approval_expires_by_either_clock(
    approvals: Approvals, times: Times, wall: float, steady: float
) -> None:
    asked = approvals.ask(question(), 60)
    approvals.decide(asked, decision())
    times.now += wall
    times.went += steady
    assert approvals.waiting() == ()
    assert not approvals.use(asked, "a" * 64)
    assert await approvals.wait(asked) == "expired"


async def test_a_wait_ends_with_the_time_of_the_approval(tmp_path: Path) -> None:
    from agency.clock import Clock

    approvals = Approvals(Journal(tmp_path / "other.jsonl"), Clock())
    asked = approvals.ask(question(), 0.05)
    async with asyncio.timeout(5):
        assert await approvals.wait(asked) == "expired"


def test_questions_have_a_bound(approvals: Approvals) -> None:
    for number in range(MAX_APPROVALS):
        approvals.ask(question(f"{number:064}"), 60)
    with pytest.raises(TooManyApprovalsError):
        approvals.ask(question("f" * 64), 60)
    approvals.ask(question(f"{1:064}"), 60)  # the same one, for which nobody waits
    assert len(approvals.waiting()) == MAX_APPROVALS


def test_a_question_that_cannot_be_kept_is_not_asked(tmp_path: Path, times: Times) -> None:
    journal = Journal(tmp_path / "calls.jsonl")
    approvals = Approvals(journal, times.clock())
    asked = approvals.ask(question(), 60)
    journal.close()
    with pytest.raises(OSError, match="descriptor"):
        approvals.ask(question("b" * 64), 60)
    with pytest.raises(OSError, match="descriptor"):
        approvals.decide(asked, decision())
    assert approvals.outcome(asked) is None


def test_who_listens_is_told_of_every_change(tmp_path: Path, times: Times) -> None:
    told: list[int] = []
    approvals = Approvals(
        Journal(tmp_path / "calls.jsonl"), times.clock(), changed=lambda: told.append(1)
    )
    asked = approvals.ask(question(), 60)
    approvals.decide(asked, decision())
    approvals.use(asked, "a" * 64)
    assert len(told) == 3


def offers(text: str) -> tuple[ToolOffer, ...]:
    return (ToolOffer("echo", text, {"type": "object"}), ToolOffer("erase", "", {}))


def test_accepted_lists_survive_and_are_bound_to_how_a_server_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "accepted.json"
    Acceptances(path).accept("web", "spec", offers("a"))
    again = Acceptances(path)
    assert again.known("web", "other") is None
    assert again.known("files", "spec") is None
    found = again.known("web", "spec")
    assert found is not None
    assert path.stat().st_mode & 0o777 == 0o600
    change = difference(found, (*offers("b")[:1], ToolOffer("new", "", {})))
    assert (change.added, change.removed, change.changed) == (("new",), ("erase",), ("echo",))
    assert json.loads(change.text()) == {
        "added": ["new"],
        "removed": ["erase"],
        "changed": ["echo"],
    }


def test_accepted_lists_that_cannot_be_read_stop_the_gateway(tmp_path: Path) -> None:
    path = tmp_path / "accepted.json"
    path.write_text("{")
    path.chmod(0o600)
    with pytest.raises(BadInputError, match="cannot be read"):
        Acceptances(path)


async def test_rows_are_tried_again_for_a_while(tmp_path: Path) -> None:
    log = FakeLog()
    auditor = Auditor(log, pause_s=0.01)
    log.away = AuditRefusedError("too many events")
    task = asyncio.create_task(auditor.before("a"))
    await asyncio.sleep(0.005)
    log.away = None
    await task
    assert log.events == ["a"]
    log.leave()
    with pytest.raises(NotRecordedError):
        await auditor.before("b")


async def test_more_rows_than_may_be_owed_are_told_in_the_log(caplog) -> None:
    log = FakeLog()
    auditor = Auditor(log, pause_s=0)
    log.leave()
    for number in range(70):
        await auditor.after("e", number=number)
    assert "is lost" in caplog.text
    log.away = None
    await auditor.before("now")
    assert len(log.rows) == 65
    assert log.last == {}


async def test_a_machine_without_an_audit_log_is_one_by_configuration() -> None:
    auditor = Auditor(None)
    await auditor.before("a")
    assert not auditor.keeps


def test_errors_of_the_disk_name_no_bytes_of_a_call(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"kind": "asked", "shown": "private"}\n')
    path.chmod(0o600)
    with pytest.raises(AgencyError) as caught:
        Journal(path)
    assert "private" not in str(caught.value)
