"""Programs: found on PATH or in this checkout, and run within bounds."""

import os
import resource
import sys
import time
from pathlib import Path

import pytest

from agency import programs
from agency.errors import PrerequisiteError
from agency.programs import (
    Account,
    Bounds,
    ProgramError,
    TooMuchOutputError,
    run_program,
    run_to_end,
)

MIB = 1024**2


@pytest.fixture
def places(tmp_path, monkeypatch):
    found = []
    for name in ("path", "tools"):
        (tmp_path / name).mkdir()
        found.append(tmp_path / name)
    monkeypatch.setenv("PATH", str(found[0]))
    monkeypatch.setattr(programs, "_OF_CHECKOUT", found[1])
    return found


def put(place, name, mode=0o755):
    (place / name).write_text("#!/bin/sh\n")
    (place / name).chmod(mode)
    return str(place / name)


def test_what_set_up_has_built_is_found_without_a_path_to_it(places):
    path, tools = places
    built = put(tools, "sops")
    assert programs.find_program("sops", hint="x") == built
    assert programs.find_program("sops", hint="x") != put(path, "sops")
    assert programs.find_program("sops", hint="x") == str(path / "sops"), "PATH comes first"


def test_what_is_nowhere_is_refused(places):
    put(places[1], "sops", 0o644)
    with pytest.raises(PrerequisiteError, match="'sops' is not installed"):
        programs.find_program("sops", hint="get it")


def test_set_up_builds_into_the_place_that_is_looked_at():
    checkout = Path(__file__).resolve().parents[3]
    assert checkout / ".tools" / "bin" == programs._OF_CHECKOUT


@pytest.mark.parametrize("stream", ["standard output", "standard error"])
def test_program_that_says_too_much_is_ended(stream: str) -> None:
    number = 1 if stream == "standard output" else 2
    argv = (sys.executable, "-c", f"import os\nwhile True: os.write({number}, b'y' * 65536)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooMuchOutputError, match=f"bytes on its {stream}"):
        run_program(argv, timeout=60)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 32 * 1024


def test_output_within_the_bound_is_kept_whole() -> None:
    argv = (sys.executable, "-c", "import sys; sys.stdout.write('y' * 1000)")
    assert run_program(argv, timeout=30, bounds=Bounds(output_bytes=1000)) == b"y" * 1000
    with pytest.raises(TooMuchOutputError):
        run_program(argv, timeout=30, bounds=Bounds(output_bytes=999))


def test_all_that_a_late_program_started_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    inner = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with pytest.raises(ProgramError, match="no end after"):
        run_program((sys.executable, "-c", code), timeout=3)
    pid = int(mark.read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # nobody reaps it here
        time.sleep(0.01)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_memory_has_a_bound_where_one_is_asked() -> None:
    argv = (sys.executable, "-c", f"print(len(bytes({200 * MIB})))")
    with pytest.raises(ProgramError, match="MemoryError"):
        run_program(argv, timeout=30, bounds=Bounds(memory_bytes=150 * MIB))
    assert run_program(argv, timeout=30, bounds=Bounds(memory_bytes=1024 * MIB)).strip()


def test_files_have_a_bound_where_one_is_asked(tmp_path: Path) -> None:
    place = tmp_path / "file"
    argv = (sys.executable, "-c", f"with open({str(place)!r}, 'wb') as f: f.write(bytes(3000))")
    with pytest.raises(ProgramError):
        run_program(argv, timeout=30, bounds=Bounds(file_bytes=1000))
    run_program(argv, timeout=30, bounds=Bounds(file_bytes=3000))
    assert place.stat().st_size == 3000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_program_runs_as_the_account_that_is_named() -> None:
    done = run_to_end(
        ("/usr/bin/id", "-u"), timeout=30, account=Account(65534, 65534), cwd=Path("/")
    )
    assert done.stdout.strip() == b"65534"
    groups = run_to_end(("/usr/bin/id", "-G"), timeout=30, account=Account(65534, 65534))
    assert groups.stdout.strip() == b"65534", "no further groups"


def test_program_that_is_missing_is_said_with_and_without_limits() -> None:
    for bounds in (Bounds(), Bounds(memory_bytes=MIB)):
        with pytest.raises(PrerequisiteError, match="'no-such-program' is not installed"):
            run_program(("no-such-program",), timeout=5, bounds=bounds)


def test_input_that_is_not_read_is_no_error() -> None:
    assert run_program(("true",), timeout=30, stdin=bytes(10 * MIB)) == b""


def test_much_input_comes_back() -> None:
    data = os.urandom(5 * MIB)
    assert run_program(("cat",), timeout=30, stdin=data) == data


def test_exit_status_is_told_with_its_reason() -> None:
    argv = (sys.executable, "-c", "import sys; sys.exit('no luck')")
    with pytest.raises(ProgramError, match="exit status 1: no luck"):
        run_program(argv, timeout=30)
    assert run_to_end(argv, timeout=30).status == 1


def test_what_a_late_program_said_is_kept() -> None:
    """Restic tries again for long when it is refused, and says why meanwhile."""
    code = "import sys, time; print('refused', file=sys.stderr, flush=True); time.sleep(60)"
    with pytest.raises(ProgramError, match="no end after") as raised:
        run_program((sys.executable, "-c", code), timeout=3)
    assert raised.value.stderr == b"refused\n"
