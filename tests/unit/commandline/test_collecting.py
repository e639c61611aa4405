"""Collection of garbage: none while a program imports, and none when it leaves."""

import gc
import subprocess
import sys

import pytest

from agency.commandline import uncollected

LEAVES = """
import atexit, gc
from agency.commandline import leave
atexit.register(lambda: print("said at the end", gc.get_freeze_count() > 1000))
print("said before")
leave(7)
"""


def test_nothing_is_collected_while_a_block_imports() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_after_an_error_it_collects_again() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_who_collects_nothing_goes_on_so() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_program_leaves_with_its_status_its_output_and_what_it_does_at_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout.splitlines() == ["said before", "said at the end True"]
