"""Ctrl-C and kill -9 at each step, two runs at a time: nothing of either is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from driving import SpinUp

from agency.spinup.transcript.judge import STEPS

Make = Callable[..., SpinUp]
ALL = STEPS["incus"]
INTERRUPTED = ALL[:-1]


@pytest.mark.parametrize("step", INTERRUPTED)
def test_at_each_step(step: str, spinup: Make, ground: Any) -> None:
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
    # The next run takes away what the killed one left; it needs not get far.
    after = spinup("--boot-timeout", "1").start()
    assert after.end() == 1, after.text
    ground.assert_nothing_left(predicate["run"], after.predicate()["run"])


def send_at(step: str, run_up: SpinUp, number: int) -> None:
    """Send a signal as soon as a step has begun."""
    run_up.reach(step)
    run_up.process.send_signal(number)
