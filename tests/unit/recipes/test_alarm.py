"""Deadline of a run, by the kernel's timer."""

import signal
import time

import pytest

from agency.recipes.run.alarm import Alarm, DeadlineError


def test_it_interrupts_what_waits_and_once_rung_whatever_begins_after_it():
    alarm = Alarm(0.1)
    before = signal.getsignal(signal.SIGALRM)
    with alarm.set():
        began = time.monotonic()
        with pytest.raises(DeadlineError), alarm.interrupting():
            time.sleep(10)
        assert time.monotonic() - began < 5
        with pytest.raises(DeadlineError), alarm.interrupting():
            pytest.fail("it had rung")
    assert (alarm.reached, alarm.told) == (True, "the deadline of the run was reached: 0.1 s")
    assert signal.getsignal(signal.SIGALRM) == before


def test_outside_of_what_it_interrupts_it_is_only_noted():
    alarm = Alarm(0.05)
    with alarm.set():
        time.sleep(0.2)
        assert alarm.reached


def test_no_handler_of_ordinary_errors_stops_it():
    def as_a_stage_might():
        try:
            time.sleep(5)
        except Exception:  # noqa: BLE001 - that is the question
            pytest.fail("it was stopped")

    alarm = Alarm(0.05)
    with alarm.set(), pytest.raises(DeadlineError), alarm.interrupting():
        as_a_stage_might()


def test_a_run_in_time_never_hears_it():
    alarm = Alarm(60)
    with alarm.set(), alarm.interrupting():
        pass
    assert not alarm.reached
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
