"""An agent that is disabled is stopped, and nothing starts it until it is enabled."""

from __future__ import annotations

import pytest

from agency.control.commands import parse, wish_for
from agency.control.runtimes.base import RuntimeStatus, State
from agency.control.service.targets import remedy_of
from agency.control.store.agents import AgentRecord, Desired
from agency.control.wish import Wish

DISABLED, STOPPED = Wish(Desired.DISABLED), Wish(Desired.STOPPED)
RUNNING = Wish(Desired.RUNNING, "site")


@pytest.mark.parametrize(
    ("said", "before", "after"),
    [
        ("!agency agents disable pm", RUNNING, DISABLED),
        ("!agency agents disable pm", STOPPED, DISABLED),
        ("!agency agents disable pm", None, DISABLED),
        ("!agency agents enable pm", DISABLED, STOPPED),
        ("!agency agents enable pm", RUNNING, None),
        ("!agency agents enable pm", STOPPED, STOPPED),
        ("!agency agents start pm", DISABLED, None),
        ("!agency agents restart pm --project=x", DISABLED, None),
        ("!agency agents stop pm", DISABLED, DISABLED),
        ("!agency agents stop pm", RUNNING, STOPPED),
    ],
)
def test_the_wish_that_a_command_makes(said: str, before: Wish | None, after: Wish | None) -> None:
    command = parse(said)
    make = wish_for(command)
    assert make is not None
    assert make(command, before, False) == after


@pytest.mark.parametrize(("state", "remedy"), [(State.RUNNING, "stop"), (State.STOPPED, None)])
def test_one_that_runs_all_the_same_is_stopped_and_never_started(
    state: State, remedy: str | None
) -> None:
    from agency.control.config import AgentEntry
    from agency.control.execution.observation import Observation

    entry = AgentEntry(name="pm", role="pm", matrix_id="@agent-pm:x", port=20001)
    record = AgentRecord("pm", Desired.DISABLED, None, "running", "1", 1, 1)
    command = remedy_of(record, Observation(entry, RuntimeStatus("pm", state)))
    assert (None if command is None else command.spec.verb) == remedy
