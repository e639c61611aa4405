"""Ctrl-C and kill -9 at each step, two runs at a time: nothing of either is left.

What a killed run leaves is destroyed by the run of the next test, and in the end by one of its own.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from driving import SpinUp

from agency.children import processes_with_marker
from agency.transcript.rules.v2.judge import STEPS

Make = Callable[..., SpinUp]
ALL = STEPS["incus"]
# Before there is a guest, and with everything in it: homeserver, control plane, agents, and ways in
# for people. While it is made, SIGTERM comes. The others are for AGENCY_THOROUGH, and the teardown
# has a test of its own.
ALWAYS = {"image", "scenario"}


def at(step: str) -> Any:
    return pytest.param(step, marks=[] if step in ALWAYS else [pytest.mark.thorough])


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """The runs of this module."""
    return []


@pytest.mark.parametrize("step", [at(step) for step in ALL[:-1]])
def test_at_each_step(step: str, spinup: Make, ground: Any, seen: list[str]) -> None:
    interrupt(step, signal.SIGINT, spinup, ground, seen)


def test_sigterm_is_heeded_like_ctrl_c(spinup: Make, ground: Any, seen: list[str]) -> None:
    interrupt("create", signal.SIGTERM, spinup, ground, seen)


@pytest.mark.thorough
def test_at_the_teardown(spinup: Make, ground: Any, seen: list[str]) -> None:
    """All has been seen by then, so a signal changes nothing; who is killed signs nothing.

    That a signal changes nothing, test_cold_and_cached.py shows always.
    """
    polite, killed = send_both("teardown", signal.SIGINT, spinup, ground, seen)
    assert not killed.output.exists()
    assert polite.end() == 0, polite.text
    assert polite.verify().returncode == 0
    predicate = polite.predicate()
    assert predicate["result"] == "PASSED"
    assert predicate["steps"][-1]["name"] == "teardown"
    assert predicate["steps"][-1]["status"] == "done"
    seen.append(predicate["run"])
    left = what_is_left(polite, ground)
    assert len(left) <= 1, "Incus may have gone on removing what a killed run began to remove"


def interrupt(step: str, number: int, spinup: Make, ground: Any, seen: list[str]) -> None:
    """Interrupt two runs at a step, one of them politely; see what both leave."""
    polite, killed = send_both(step, number, spinup, ground, seen)
    assert not killed.output.exists(), "who is killed signs nothing"
    assert polite.end() == 1, polite.text
    predicate = polite.predicate()
    # A step of milliseconds may be over before the signal is there.
    assert predicate["failure"]["step"] in ALL[ALL.index(step) :][:2]
    assert predicate["failure"]["message"] == "interrupted by a signal"
    assert polite.verify().returncode == 1
    seen.append(predicate["run"])
    left = what_is_left(polite, ground)
    if ALL.index(step) > ALL.index("create"):
        assert len(left) == 1, "whoever is killed destroys nothing; what earlier runs left is gone"
    assert len(left) <= 1


def send_both(
    step: str, number: int, spinup: Make, ground: Any, seen: list[str]
) -> tuple[SpinUp, SpinUp]:
    """Two runs at once, one of which gets the signal at the step, the other one SIGKILL."""
    polite, killed = spinup().start(), spinup().start()
    signals = [(killed, signal.SIGKILL), (polite, number)]
    senders = [threading.Thread(target=send_at, args=(step, *each)) for each in signals]
    for sender in senders:
        sender.start()
    for run_up in (polite, killed):
        run_up.reach(ALL[0])
    seen += ground.runs()  # also of a run that is killed before it has a guest
    for sender in senders:
        sender.join()
    assert killed.process.wait(60) == -signal.SIGKILL
    return polite, killed


def send_at(step: str, run_up: SpinUp, number: int) -> None:
    """Send a signal as soon as a step has begun."""
    run_up.reach(step)
    run_up.process.send_signal(number)


def what_is_left(polite: SpinUp, ground: Any) -> list[str]:
    """The runs whose guests are left; nothing is of the one that was not killed."""
    run = polite.predicate()["run"]
    assert processes_with_marker(run) == ()
    assert run not in ground.runs()
    listed = json.loads(ground.agency("guest", "list", "--json").stdout)
    assert all(guest["left_behind"] for guest in listed)
    assert run not in {guest["run"] for guest in listed}
    return [guest["run"] for guest in listed]


def test_in_the_end_nothing_is_left(spinup: Make, ground: Any, seen: list[str]) -> None:
    assert len(seen) >= 2, "nothing was interrupted"
    last = spinup("--boot-timeout", "0.05").start()  # it needs not get far
    assert last.end() == 1, last.text
    ground.assert_nothing_left(*seen, last.predicate()["run"])
