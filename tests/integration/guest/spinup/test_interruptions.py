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
from agency.spinup.transcript.judge import STEPS

Make = Callable[..., SpinUp]
ALL = STEPS["incus"]
# These are over in a moment, or like the ones beside them: for AGENCY_THOROUGH.
BRIEF = {"quarantine", "install", "accounts", "probe", "records", "converge", "login"}


def at(step: str) -> Any:
    return pytest.param(step, marks=[pytest.mark.thorough] if step in BRIEF else [])


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """The runs of this module."""
    return []


@pytest.mark.parametrize("step", [at(step) for step in ALL[:-1]])
def test_at_each_step(step: str, spinup: Make, ground: Any, seen: list[str]) -> None:
    polite, killed = spinup().start(), spinup().start()
    signals = [(killed, signal.SIGKILL), (polite, signal.SIGINT)]
    senders = [threading.Thread(target=send_at, args=(step, *each)) for each in signals]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert killed.process.wait(60) == -signal.SIGKILL
    assert not killed.output.exists(), "who is killed signs nothing"
    assert polite.end() == 1, polite.text
    predicate = polite.predicate()
    # A step of milliseconds may be over before the signal is there.
    assert predicate["failure"]["step"] in ALL[ALL.index(step) :][:2]
    assert predicate["failure"]["message"] == "interrupted by a signal"
    assert polite.verify().returncode == 1
    assert processes_with_marker(predicate["run"]) == ()
    listed = json.loads(ground.agency("guest", "list", "--json").stdout)
    assert len(listed) <= 1, "what earlier runs left is gone"
    assert all(guest["left_behind"] for guest in listed)
    assert predicate["run"] not in {guest["run"] for guest in listed}
    seen += [predicate["run"], *(guest["run"] for guest in listed)]


def send_at(step: str, run_up: SpinUp, number: int) -> None:
    """Send a signal as soon as a step has begun."""
    run_up.reach(step)
    run_up.process.send_signal(number)


def test_in_the_end_nothing_is_left(spinup: Make, ground: Any, seen: list[str]) -> None:
    assert seen, "nothing was interrupted"
    last = spinup("--boot-timeout", "0.05").start()  # it needs not get far
    assert last.end() == 1, last.text
    ground.assert_nothing_left(*seen, last.predicate()["run"])
