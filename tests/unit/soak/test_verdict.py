"""The judge of a soak finds each kind of fault, and accepts what is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from soak import plan
from soak.journal import Journal, Said, Trouble
from soak.plan import Act, Manner, Step
from soak.verdict import Evidence, judge

AGENTS = ("pm", "developer")
BOT = "@agency:x"


class Run:
    """A run in memory: commands with their answers, ten seconds apart."""

    def __init__(self, place: Path) -> None:
        self.journal = Journal(place / "journal.jsonl")
        self.room: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []
        self.now = 1000.0

    def say(self, verb: str, body: str | None, agent: str = "pm", **facts: Any) -> Said:
        """One command and its answer; without a body there is none."""
        number = len(self.journal.said) + 1
        ok = facts.pop("ok", True)
        step = Step(number, 0.0, 0, Manner.PLAIN, verb, agent if verb != "ping" else "")
        step = replace(step, **facts)
        self.now += 10
        said = Said(step, self.now, f"$e{number}", f"$e{number}")
        said.redacted = step.manner is Manner.REDACTED
        self.journal.said.append(said)
        self.room.append({"event_id": said.event_id, "content": {}, "sender": "@alice:x"})
        if body is not None:
            self.answer(said, body, ok=ok)
            self.rows(said, *(["accepted"] if step.changes else []), "done" if ok else "refused")
        return said

    def answer(self, said: Said, body: str, *, ok: bool = True, place: str = "") -> None:
        relation = {
            "rel_type": "m.thread",
            "event_id": place or said.place,
            "m.in_reply_to": {"event_id": said.event_id},
        }
        meta = {"command": said.event_id, "ok": ok, "final": True}
        content = {"body": body, "m.relates_to": relation, "org.agency.reply": meta}
        at = int((said.sent + 2) * 1000)
        self.room.append(
            {"event_id": f"$a{at}", "sender": BOT, "origin_server_ts": at, "content": content}
        )

    def rows(self, said: Said, *outcomes: str, actor: str = "@alice:x") -> None:
        for outcome in outcomes:
            detail = {"event": said.event_id}
            row = {"action": "x", "actor": actor, "outcome": outcome, "detail": detail}
            self.audit.append(row)

    def faults(self, *, verifies: bool = True) -> list[tuple[str, str]]:
        evidence = Evidence(
            self.room[::-1], self.audit, verifies, BOT, frozenset({"@eve:x"}), AGENTS
        )
        return [(fault.kind, fault.why) for fault in judge(self.journal, evidence)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def status(state: str, project: str = "-") -> str:
    return f"pm: {state}\n\nrole     pm\nproject  {project}"


def test_run_in_which_all_is_right(run: Run) -> None:
    run.say("ping", "pong, 5 ms after you sent it")
    run.say("start", "pm runs, with the project p2 (pid 5).", project="p2")
    run.say("status", status("running", "p2"))
    run.say("start", "pm already runs with the project p2\nrestart it", ok=False, project="p4")
    run.say("restart", "pm runs, with the project p2 (pid 6).")
    run.say("start", "pm already runs, with the project p2 (pid 6).")
    run.say("stop", "pm is stopped.")
    run.say("stop", "pm was not running.")
    run.say("status", status("stopped"))
    listed = "1 of 2 agents run.\n\nNAME  ROLE  STATE  PROJECT  PID\npm  pm  running  -  7"
    run.say("start", "pm runs, with no project (pid 7).")
    run.say("list", listed, agent="")
    run.say("stop", "Edited messages are not run.", ok=False, manner=Manner.EDIT)
    run.say("stop", None, manner=Manner.REDACTED)
    assert run.faults() == []


def test_lost_command(run: Run) -> None:
    run.say("ping", None)
    assert [kind for kind, _ in run.faults()] == ["lost", "lost"]


def test_doubled_answer_and_doubled_execution(run: Run) -> None:
    said = run.say("ping", "pong")
    run.answer(said, "pong")
    assert [kind for kind, _ in run.faults()] == ["doubled"]
    run.rows(said, "done")
    assert [kind for kind, _ in run.faults()] == ["doubled", "doubled"]


def test_redacted_command_that_ran_must_have_been_answered(run: Run) -> None:
    said = run.say("ping", None, manner=Manner.REDACTED)
    assert run.faults() == []
    run.answer(said, "pong")
    assert ("lost", "no end in the audit log: {}") in run.faults()


@pytest.mark.parametrize(
    ("verb", "body", "facts"),
    [
        ("ping", "agency 1.0", {}),
        ("ping", "Too many", {"ok": False}),
        ("stop", "pm was not running.", {}),
        ("stop", "developer is stopped.", {}),
        ("start", "pm runs, with the project other (pid 5).", {"project": "p9"}),
        ("start", "pm already runs with the project other\n", {"project": "p9", "ok": False}),
        ("restart", "pm runs, with no project (pid 5).", {}),
        ("restart", "pm is stopped.", {}),
        ("stop", "The control plane ended while this command ran.", {"ok": False}),
        ("status", status("stopped"), {}),
        ("status", status("running", "other"), {}),
        ("status", "developer: running", {}),
        ("stop", "pm is stopped.", {"manner": Manner.EDIT}),
    ],
)
def test_wrong_answer(run: Run, verb: str, body: str, facts: dict[str, Any]) -> None:
    run.say("start", "pm runs, with the project p1 (pid 5).", project="p1")
    assert run.faults() == []
    run.say(verb, body, **facts)
    assert {kind for kind, _ in run.faults()} == {"wrong"}


def test_agent_that_runs_although_it_was_stopped_is_wrong_whatever_happened(run: Run) -> None:
    run.say("start", "pm runs, with the project p1 (pid 5).", project="p1")
    run.say("stop", "pm is stopped.")
    run.journal.troubles.append(Trouble("control", "kill -9", 0, run.now + 100))
    run.say("status", status("running", "p1"))
    assert [kind for kind, _ in run.faults()] == ["wrong"]


def test_trouble_excuses_what_it_explains(run: Run) -> None:
    run.say("start", "pm runs, with the project p1 (pid 5).", project="p1")
    run.journal.troubles.append(Trouble("control", "kill -9", run.now + 9, run.now + 15))
    run.say("stop", "The control plane ended while this command ran.", ok=False)
    run.say("status", status("running", "p1"))
    run.say("ping", "Too many", ok=False)
    assert [kind for kind, _ in run.faults()] == ["wrong"], "the ping came long after"


def test_place_of_the_answer(run: Run) -> None:
    said = run.say("ping", None)
    run.answer(said, "pong", place="$elsewhere")
    run.rows(said, "done")
    assert [kind for kind, _ in run.faults()] == ["wrong"]


def test_stranger_who_is_obeyed(run: Run) -> None:
    said = run.say("ping", "pong")
    run.rows(replace(said, event_id="$s"), "accepted", "done", actor="@eve:x")
    run.answer(replace(said, event_id="$s"), "pong")
    assert [kind for kind, _ in run.faults()] == ["wrong"] * 3


def test_bad_audit_log(run: Run) -> None:
    assert run.faults(verifies=False) == [("wrong", "the audit log is bad")]


def test_plan_follows_from_the_seed() -> None:
    assert plan.steps(1, 50, 1.0, AGENTS) == plan.steps(1, 50, 1.0, AGENTS)
    assert plan.steps(1, 50, 1.0, AGENTS) != plan.steps(2, 50, 1.0, AGENTS)
    blows = plan.blows(1, ("control", "synapse", "agent"), 10.0)
    assert blows == plan.blows(1, ("control", "synapse", "agent"), 10.0)
    assert {(each.part, each.act) for each in blows[:60]} == {
        (part, act) for part in ("control", "synapse", "agent") for act in Act
    }
    steps = plan.steps(1, 2000, 30.0, AGENTS)
    assert {each.manner for each in steps} == set(Manner)
    assert len({each.project for each in steps if each.project}) > 100
