"""Which signals stop a program, in the foreground and as a background job."""

import signal
import subprocess
import sys

import pytest
from interrupting import sigint

from agency.signals import stop_signals

SHOW = "from agency.signals import stop_signals; print(*map(int, stop_signals()))"


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        (signal.SIG_DFL, (signal.SIGTERM, signal.SIGINT)),
        (signal.SIG_IGN, (signal.SIGTERM,)),
    ],
)
def test_what_is_ignored_from_the_start_stops_nothing(disposition, expected):
    with sigint(disposition):
        assert stop_signals() == expected
        shown = subprocess.check_output([sys.executable, "-c", SHOW], text=True, timeout=30)
    assert shown.split() == [str(int(number)) for number in expected]


def test_a_shell_starts_a_background_job_so():
    with sigint():
        script = '"$0" -c "$1" & wait'
        argv = ["sh", "-c", script, sys.executable, SHOW]
        shown = subprocess.check_output(argv, text=True, timeout=30)
    assert shown.split() == [str(int(signal.SIGTERM))]
