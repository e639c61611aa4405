"""The process is killed at each point of a command: it runs once, and is answered once."""

from __future__ import annotations

import signal
import socket
import threading
from typing import Any


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
    assert "was not run again. Seen now: pm is stopped." in reply["body"]
    assert reply["org.agency.reply"]["ok"] is False
    assert [row["outcome"] for row in control.audit()][1:] == ["accepted", "interrupted"]
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
