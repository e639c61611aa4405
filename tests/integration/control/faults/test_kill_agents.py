"""Killed at each point of `agents create`, `delete` and `respawn`: once, or reported as undone."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

import killing
import pytest
import requests

CREATE = "!agency agents create mortal --template=developer"
BOB = "@bob:agency.example"


def final(control: Any, stub: Any, event: dict[str, Any], wait_for: Any) -> str:
    """The one final reply there is, after everything has been settled and sent."""

    def look() -> list[dict[str, Any]]:
        return [r for r in stub.replies(event["event_id"]) if r["org.agency.reply"]["final"]]

    wait_for(look, "reply")
    wait_for(
        lambda: control.query("SELECT count(*) FROM outbox WHERE state = 'pending'") == [(0,)],
        "end of the sending",
    )
    (reply,) = look()
    return str(reply["body"])


def say(control: Any, stub: Any, make_event: Any, wait_for: Any, text: str) -> str:
    event = make_event(text)
    control.deliver([event])
    return final(control, stub, event, wait_for)


def outcomes(control: Any, action: str) -> list[tuple[str, str]]:
    return [(row["actor"], row["outcome"]) for row in control.audit() if row["action"] == action]


def die_at(control: Any, moment: str, *events: dict[str, Any]) -> None:
    """Run the control plane that kills itself at a moment, and hand it these."""
    usual, control.program = control.program, (killing.__file__, moment)
    control.start()
    for event in events:
        with suppress(requests.ConnectionError):
            control.deliver([event])
    assert control.process.wait(20) == -signal.SIGKILL
    control.program = usual


@pytest.mark.parametrize(
    "moment",
    ["uncommitted", *(pytest.param(m, marks=pytest.mark.thorough) for m in ("accepted", "unsent"))],
)
def test_an_agent_is_made_once_or_not_at_all(
    control: Any, stub: Any, make_event: Any, wait_for: Any, moment: str
) -> None:
    event = make_event(CREATE)
    die_at(control, moment, event)
    control.start()
    body = final(control, stub, event, wait_for)
    made = control.query("SELECT name FROM created_agents WHERE deleted_ts IS NULL")
    listed = say(control, stub, make_event, wait_for, "!agency agents list")
    if moment == "unsent":
        assert body.startswith("mortal is made from the template developer")
        assert made == [("mortal",)]
        assert "0 of 3 agents run." in listed
    else:
        assert "Send it again" in body
        assert "there is no agent mortal" in body
        assert made == []
        assert "0 of 2 agents run." in listed
        again = say(control, stub, make_event, wait_for, CREATE)
        assert again.startswith("mortal is made")
    assert control.verify() == 0


@pytest.mark.parametrize(
    "moment",
    [
        "acting",
        *(
            pytest.param(m, marks=pytest.mark.thorough)
            for m in ("accepted", "acted", "uncommitted")
        ),
    ],
)
def test_an_agent_whose_deletion_began_is_deleted_once(
    control: Any, stub: Any, make_event: Any, wait_for: Any, moment: str
) -> None:
    control.config["operators"] = ["@alice:agency.example", BOB]
    control.start()
    say(control, stub, make_event, wait_for, CREATE)
    assert "mortal runs" in say(control, stub, make_event, wait_for, "!agency agents start mortal")
    delete = make_event("!agency agents delete mortal")
    control.deliver([delete])
    (prompt,) = wait_for(lambda: stub.replies(delete["event_id"]), "prompt")
    assert (
        "mortal is to run, with no project now; after it mortal is to be deleted."
        in (prompt["body"])
    )
    short = prompt["body"].split()[1][:9]
    control.stop()
    die_at(control, moment, make_event(f"approve {short}", sender=BOB))
    control.start()
    body = final(control, stub, delete, wait_for)
    assert "mortal is deleted." in body, body
    assert "0 of 2 agents run." in say(control, stub, make_event, wait_for, "!agency agents list")
    rows = outcomes(control, "agents delete")
    assert rows.count(("system", "done")) == 1
    assert ("@alice:agency.example", "interrupted") in rows
    (kept,) = control.query("SELECT deleted_ts FROM created_agents WHERE name = 'mortal'")
    assert kept[0] is not None, "its record stays"
    assert control.verify() == 0


@pytest.mark.parametrize(
    "moment",
    [
        "acted",
        *(
            pytest.param(m, marks=pytest.mark.thorough)
            for m in ("accepted", "acting", "uncommitted")
        ),
    ],
)
def test_an_agent_that_is_respawned_runs_once(
    control: Any, stub: Any, make_event: Any, wait_for: Any, moment: str
) -> None:
    control.start()
    say(control, stub, make_event, wait_for, "!agency agents start pm --project=site")
    control.stop()
    event = make_event("!agency agents respawn pm")
    usual, control.program = control.program, (killing.__file__, moment)
    control.start()
    wait_for(lambda: ("system", "done") in outcomes(control, "agents start"), "agent that runs")
    with suppress(requests.ConnectionError):
        control.deliver([event])
    assert control.process.wait(20) == -signal.SIGKILL
    control.program = usual
    control.start()
    body = final(control, stub, event, wait_for)
    assert body.endswith("Seen now: pm is running, with the project site."), body
    rows = outcomes(control, "agents respawn")
    assert rows == [("@alice:agency.example", "accepted"), ("@alice:agency.example", "interrupted")]
    assert control.verify() == 0
