"""The server of forks: what it tells of a program is about that program."""

from pathlib import Path

import forking


def test_a_number_that_another_program_had_before_tells_nothing_of_its_end() -> None:
    """Linux gives numbers again after 32,768 processes, and a run of all tests starts more."""
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    server = forking.server()
    kept = dict(server._ended)
    server._ended.update(dict.fromkeys(range(1, min(most, 2**22) + 1), 0))
    try:
        assert forking.run("no-such-command").returncode == 2
    finally:
        server._ended.clear()
        server._ended.update(kept)
