"""The process is killed at each point of a command: it runs once, and is answered once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import killing
import pytest
import requests

from agency.control.commands import parse
from agency.control.operations import Operation, Origin, OriginKind, State
from agency.control.store import operations
from agency.store import open_database


def one_reply(control: Any, stub: Any, event: dict[str, Any], wait_for: Any) -> dict[str, Any]:
    """The one reply there is, after everything has been settled and sent."""
    wait_for(lambda: stub.replies(event["event_id"]), "reply")
    wait_for(
        lambda: control.query("SELECT count(*) FROM outbox WHERE state = 'pending'") == [(0,)],
        "end of the sending",
    )
    (reply,) = stub.replies(event["event_id"])
    return dict(reply)


def test_killed_between_intake_and_execution(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    stub.fail("directory", times=1000, status=503)  # so that nothing can be run yet
    control.launch()
    event = make_event("!agency ping")
    wait_for(control.accepts, "server")
    assert control.deliver([event], txn="one").status_code == 200
    assert control.query("SELECT state FROM inbox") == [("pending",)]
    assert control.stop(signal.SIGKILL) == -signal.SIGKILL
    stub.mend()
    control.start()
    assert control.deliver([event], txn="one").status_code == 200, "the homeserver delivers again"
    assert one_reply(control, stub, event, wait_for)["body"].startswith("pong")
    assert [row["action"] for row in control.audit()] == ["audit open", "ping"]
    assert control.verify() == 0


def test_killed_between_execution_and_sending(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    stub.fail("/send/", times=1000, status=503)
    event = make_event("!agency ping")
    control.deliver([event])
    wait_for(lambda: control.query("SELECT 1 FROM outbox"), "queued reply")
    control.stop(signal.SIGKILL)
    stub.mend()
    assert stub.posted == {}
    control.start()
    control.deliver([event])
    one_reply(control, stub, event, wait_for)
    assert len(control.audit()) == 2, "it was run once"


def test_killed_after_posting_and_before_noting_it(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    """Also when the homeserver, too, restarts, and knows the transaction id no more."""
    stub.remembers_transactions = False
    control.start()
    stub.fail("/send/", hang=threading.Event(), after_posting=True)
    event = make_event("!agency ping")
    control.deliver([event])
    wait_for(lambda: stub.posted, "posted reply")
    control.stop(signal.SIGKILL)
    assert control.query("SELECT state FROM outbox") == [("pending",)]
    control.start()
    one_reply(control, stub, event, wait_for)
    assert len(stub.attempts) == 1, "the room was asked, and it was not posted again"


def test_killed_while_a_change_is_under_way(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    event = make_event("!agency agents start pm")
    control.deliver([event])
    wait_for(lambda: control.query("SELECT 1 FROM operations WHERE state = 'running'"), "start")
    control.stop(signal.SIGKILL)
    assert [row["outcome"] for row in control.audit()][1:] == ["accepted"]
    control.start()
    reply = one_reply(control, stub, event, wait_for)
    assert "was not run again. pm is to run, with no project." in reply["body"]
    assert reply["body"].endswith("Seen now: pm is running, with no project.")
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert [(row["actor"], row["outcome"]) for row in control.audit()][1:] == [
        ("@alice:agency.example", "accepted"),
        ("system", "accepted"),
        ("system", "done"),
        ("@alice:agency.example", "interrupted"),
    ]
    assert control.verify() == 0


STOP, BETA = "!agency agents stop pm", "!agency agents restart pm --project=beta"
THOROUGH = pytest.mark.thorough
MOMENTS = ("accepted", "acting", "acted", "uncommitted", "unsent")
# One of each kind always; every pair in the thorough run.
OFTEN = {(STOP, "acting"), (BETA, "unsent")}


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        pytest.param(said, moment, marks=[] if (said, moment) in OFTEN else pytest.mark.thorough)
        for said in (STOP, BETA, "!agency agents restart pm")
        for moment in MOMENTS
    ],
)
def test_killed_at_a_moment_the_agent_is_as_told(
    control: Any, stub: Any, make_event: Any, wait_for: Any, said: str, moment: str
) -> None:
    """The control plane ends itself by SIGKILL there (`killing`); its agents are real processes."""
    control.start()
    start = make_event("!agency agents start pm --project=alpha")
    control.deliver([start])
    one_reply(control, stub, start, wait_for)
    control.stop()
    usual, control.program = control.program, (killing.__file__, moment)
    control.start()
    again = ("system", "agents start", "done")
    wait_for(
        lambda: again in [(r["actor"], r["action"], r["outcome"]) for r in control.audit()],
        "agent that runs again",
    )
    before = len(control.audit())
    event = make_event(said)
    with suppress(requests.ConnectionError):  # killed before it acknowledged; it is stored
        control.deliver([event])
    assert control.process.wait(20) == -signal.SIGKILL
    control.program = usual
    control.start()
    body = one_reply(control, stub, event, wait_for)["body"]
    project = "beta" if said == BETA else "alpha"
    wish = "is stopped" if said == STOP else f"is running, with the project {project}"
    if moment == "unsent":
        assert body.startswith(
            "pm is stopped." if said == STOP else f"pm runs, with the project {project}"
        )
    else:
        assert body.endswith(f"Seen now: pm {wish}.")
    shown = "pm: stopped" if said == STOP else project

    def is_so() -> bool:
        status = make_event("!agency agents status pm")
        control.deliver([status])
        return shown in str(one_reply(control, stub, status, wait_for))

    wait_for(is_so, f"agent that {wish}")
    time.sleep(0.5)
    assert is_so(), "and it stays so"
    mine = [row["outcome"] for row in control.audit()[before:] if row["actor"] != "system"]
    assert mine[:2] == ["accepted", "done" if moment == "unsent" else "interrupted"]
    assert control.verify() == 0


def test_agents_that_ought_to_run_are_started_again(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    start = make_event("!start-agent pm --project=new-app")
    control.deliver([start])
    assert one_reply(control, stub, start, wait_for)["org.agency.reply"]["ok"] is True
    control.stop(signal.SIGKILL)
    control.start()
    again = ("system", "agents start", "done")
    wait_for(
        lambda: again in [(r["actor"], r["action"], r["outcome"]) for r in control.audit()],
        "agent that runs again",
    )
    status = make_event("!agent-status pm")
    control.deliver([status])
    body = one_reply(control, stub, status, wait_for)["body"]
    assert "pm: running" in body
    assert "new-app" in body
    stop = make_event("!stop-agent pm")
    control.deliver([stop])
    one_reply(control, stub, stop, wait_for)
    control.stop()
    control.start()
    listed = make_event("!agency agents list")
    control.deliver([listed])
    assert "0 of 2 agents run" in one_reply(control, stub, listed, wait_for)["body"]


def test_agent_that_cannot_be_started_again_stays_wanted(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    start = make_event("!start-agent pm --project=new-app")
    control.deliver([start])
    one_reply(control, stub, start, wait_for)
    control.stop()
    port = next(agent["port"] for agent in control.config["agents"] if agent["name"] == "pm")

    def system() -> list[str]:
        return [row["outcome"] for row in control.audit() if row["actor"] == "system"][1:]

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        control.start()
        wait_for(lambda: system() == ["accepted", "failed"], "failed attempt")
        ping = make_event("!agency ping")
        control.deliver([ping])
        assert one_reply(control, stub, ping, wait_for)["body"].startswith("pong")
    assert control.query("SELECT desired, project FROM agents WHERE name = 'pm'") == [
        ("running", "new-app")
    ]
    control.stop()
    control.start()
    wait_for(lambda: system()[2:] == ["accepted", "done"], "agent that runs again")


def plant(control: Any, state: State, said: str, **changes: Any) -> Operation:
    """Put an operation into the store of a control plane that is not running."""
    now = int(time.time() * 1000)
    origin = Origin(OriginKind.MATRIX, "$planted", now, "!control:agency.example", "$planted")
    command = parse(said)
    operation = Operation(
        origin=origin,
        actor="@alice:agency.example",
        action=command.name,
        said=said,
        target=command.text("agent") or "",
        trace="t-planted",
        created_ts=now,
        deadline_ts=now + 600_000,
        state=state,
    )
    operation = replace(operation, **changes)

    async def write() -> None:
        database = open_database(control.config["database_url"])
        await database.write(lambda connection: operations.add(connection, operation, now))
        await database.close()

    asyncio.run(write())
    return operation


def states(control: Any) -> list[str]:
    return [row[0] for row in control.query("SELECT state FROM operations ORDER BY sequence")]


@pytest.mark.parametrize(
    ("state", "said", "outcomes"),
    [
        (State.PROPOSED, "!agency agents stop pm", ["accepted", "done"]),
        pytest.param(State.PROPOSED, "!agency agents status pm", ["done"], marks=THOROUGH),
        (State.GRANTED, "!agency agents stop pm", ["accepted", "done"]),
        (State.RUNNING, "!agency agents stop pm", ["interrupted"]),
    ],
)
def test_killed_before_it_is_taken_up_again(
    control: Any, stub: Any, wait_for: Any, state: State, said: str, outcomes: list[str]
) -> None:
    """The store is as a kill in that state leaves it, and the next start is killed, too."""
    control.start()
    control.stop(signal.SIGKILL)
    plant(control, state, said)
    stub.fail("directory", times=1000, status=503)  # so that nothing can be run yet
    control.launch()
    wait_for(control.accepts, "server")
    control.stop(signal.SIGKILL)
    assert states(control) == [state]
    stub.mend()
    for _ in range(2):
        control.start()
        reply = one_reply(control, stub, {"event_id": "$planted"}, wait_for)
        assert reply["org.agency.reply"]["final"] is True
        control.stop(signal.SIGKILL)
        rows = [row["outcome"] for row in control.audit() if row["trace"] == "t-planted"]
        assert rows == outcomes
    assert control.verify() == 0


def test_killed_while_it_waits_for_an_approval(control: Any, stub: Any, wait_for: Any) -> None:
    """It waits on; one whose deadline passed while nobody was there expires."""
    control.start()
    control.stop(signal.SIGKILL)
    start = "!agency agents start pm"
    plant(control, State.WAITING, start, rule="two-people")
    control.start()
    control.stop(signal.SIGKILL)
    assert states(control) == ["waiting"]
    late = Origin(OriginKind.MATRIX, "$late", 1, "!control:agency.example", "$late")
    plant(control, State.WAITING, start, rule="two-people", origin=late, deadline_ts=1000)
    control.start()
    reply = one_reply(control, stub, {"event_id": "$late"}, wait_for)
    assert reply["body"].startswith("Nobody approved this in time")
    control.stop(signal.SIGKILL)
    assert states(control) == ["waiting", "expired"]
    assert stub.replies("$planted") == []
    assert [row["outcome"] for row in control.audit()][1:] == ["expired"]


@pytest.mark.parametrize(
    "state",
    [
        State.DONE,
        *(
            pytest.param(each, marks=THOROUGH)
            for each in (State.FAILED, State.REFUSED, State.EXPIRED)
        ),
    ],
)
def test_killed_after_its_end(
    control: Any, stub: Any, make_event: Any, wait_for: Any, state: State
) -> None:
    control.start()
    control.stop(signal.SIGKILL)
    plant(control, state, "!agency agents start pm")
    control.start()
    ping = make_event("!agency ping")
    control.deliver([ping])
    one_reply(control, stub, ping, wait_for)
    control.stop(signal.SIGKILL)
    assert states(control) == [state, "done"]
    assert stub.replies("$planted") == []
    assert [row["action"] for row in control.audit()][1:] == ["ping"]


def test_killed_while_one_change_runs_and_the_next_waits_its_turn(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    start, stop = make_event("!agency agents start pm"), make_event("!agency agents stop pm")
    control.deliver([start, stop])
    wait_for(lambda: states(control) == ["running", "granted"], "waiting change")
    control.stop(signal.SIGKILL)
    assert states(control) == ["running", "granted"]
    control.start()
    assert "was not run again" in one_reply(control, stub, start, wait_for)["body"]
    assert one_reply(control, stub, stop, wait_for)["org.agency.reply"]["ok"] is True
    assert states(control) == ["failed", "done"]
    assert [(row["action"], row["outcome"]) for row in control.audit()][1:] == [
        ("agents start", "accepted"),
        ("agents start", "interrupted"),
        ("agents stop", "accepted"),
        ("agents stop", "done"),
    ]
    assert control.verify() == 0


def test_killed_while_a_look_is_under_way(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    """A look is put on record when it ends; until then its event waits, and it is run again."""
    control.start()
    start = make_event("!agency agents start pm")
    control.deliver([start])
    one_reply(control, stub, start, wait_for)
    pid = control.pid_of("pm")
    os.kill(pid, signal.SIGSTOP)  # it will not answer
    look = make_event("!agency agents status pm")
    control.deliver([look])
    ping = make_event("!agency ping")
    control.deliver([ping])
    assert one_reply(control, stub, ping, wait_for)["body"].startswith("pong")
    assert stub.replies(look["event_id"]) == [], "and the ping did not wait for it"
    control.stop(signal.SIGKILL)
    os.kill(pid, signal.SIGCONT)
    assert control.query("SELECT state FROM inbox WHERE sequence = 2") == [("pending",)]
    control.start()
    one_reply(control, stub, look, wait_for)
    rows = [row["action"] for row in control.audit() if row["actor"] != "system"]
    assert rows.count("agents status") == 1
