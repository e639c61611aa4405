"""The machine: each thing that goes wrong, made wrong for real where that can be done."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agency.clock import Clock
from agency.doctor import machine, storage
from agency.doctor.finding import Finding, Level, Subject
from agency.doctor.programs import look_at_programs


def subject(tmp_path: Path, **environ: str) -> Subject:
    return Subject(None, environ={"XDG_STATE_HOME": str(tmp_path / "state"), **environ})


def wrong(found: Iterator[Finding]) -> list[Finding]:
    return [one for one in found if one.level is not Level.OK]


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    """The positive control of all below."""
    here = subject(tmp_path)
    assert wrong(storage.look_at_directories(here)) == []
    assert wrong(storage.look_at_locks(here)) == []
    assert wrong(machine.look_at_loopback(here)) == []
    assert not [one for one in machine.look_at_clock(here) if one.level is Level.BAD]
    assert list(tmp_path.iterdir()) == []


class TestDirectories:
    """Of XDG and of temporary files."""

    def test_relative(self) -> None:
        relative = Subject(None, environ={"XDG_STATE_HOME": "here", "XDG_CACHE_HOME": "c"})
        found = wrong(storage.look_at_directories(relative))
        assert [(one.subject, one.level) for one in found] == [
            ("XDG_STATE_HOME", Level.BAD),
            ("XDG_CACHE_HOME", Level.BAD),
        ]
        assert found[0].remedy == "set XDG_STATE_HOME to an absolute path, or unset it"

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("mine")
        (one,) = wrong(storage.look_at_directories(subject(tmp_path)))
        assert (one.level, one.subject) == (Level.BAD, "state")
        assert "is not a directory" in one.message

    def test_not_writable(self) -> None:
        (one,) = wrong(storage.look_at_directories(subject(Path("/proc/self"))))
        assert one.level is Level.BAD
        assert "cannot be written" in one.message

    def test_writable_by_others(self, tmp_path: Path) -> None:
        state = tmp_path / "state" / "agency"
        state.mkdir(parents=True)
        state.chmod(0o777)
        (one,) = wrong(storage.look_at_directories(subject(tmp_path)))
        assert one.remedy == f"chmod go-w {state}"

    def test_temporary(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "none"))
        (one,) = wrong(storage.look_at_directories(subject(tmp_path)))
        assert (one.subject, one.level) == ("temporary files", Level.BAD)
        assert "TMPDIR" in one.remedy

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_user_without_home_is_told_what_to_set(self) -> None:
        code = (
            "import os\n"
            "from agency.doctor.runner import run_checks\n"
            "from agency.doctor.finding import Check, Subject\n"
            "from agency.doctor.storage import look_at_directories\n"
            "os.setuid(54321)\n"
            "print(run_checks([Check('d', look_at_directories)], Subject(None)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        )
        assert "XDG_STATE_HOME" in done.stdout, done.stderr
        assert "defect" not in done.stdout


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    (one,) = wrong(storage.look_at_locks(subject(tmp_path)))
    assert (one.subject, one.level) == ("locks", Level.BAD)
    assert "No locks available" in one.message
    assert "XDG_STATE_HOME" in one.remedy


@pytest.mark.parametrize(
    ("free", "files", "level"),
    [
        (storage.LEAST_BYTES - 1, 10**6, Level.BAD),
        (storage.LEAST_BYTES, 10**6, Level.NOTE),
        (storage.ENOUGH_BYTES, 10**6, Level.OK),
        (storage.ENOUGH_BYTES, 10, Level.BAD),
    ],
)
def test_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, files: int, level: Level
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=10**7, f_favail=files))
    one = storage.space("space", tmp_path)
    assert one.level is level
    assert bool(one.remedy) == (level is not Level.OK)


def test_a_loopback_that_is_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def down(*_: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_server", down)
    (one,) = machine.look_at_loopback(subject(tmp_path))
    assert (one.level, one.remedy) == (Level.BAD, "bring it up: `ip link set lo up`")


class TestClock:
    """Without asking systemd, which is another machine's."""

    @pytest.fixture(autouse=True)
    def no_systemd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: None)

    def test_before_the_program(self) -> None:
        (one,) = machine.look_at_clock(Subject(None, clock=Clock(wall=lambda: 86400.0)))
        assert (one.level, one.subject) == (Level.BAD, "clock")
        assert "1970-01-02" in one.message

    def test_before_the_instance(self, tmp_path: Path) -> None:
        file = tmp_path / "instance.yaml"
        file.write_text("")
        for ahead, level in ((3 * 86400, Level.BAD), (3600, Level.OK)):
            os.utime(file, (1_800_000_000 + ahead,) * 2)
            (one,) = machine.look_at_clock(
                Subject(tmp_path, clock=Clock(wall=lambda: 1_800_000_000.0))
            )
            assert one.level is level

    def test_no_time_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/timedatectl")
        monkeypatch.setattr(machine, "run_program", lambda *_, **__: b"no\n")
        *_, last = machine.look_at_clock(Subject(None))
        assert (last.level, last.message) == (Level.NOTE, "is not kept by a time server")


def test_few_open_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    first = next(machine.look_at_limits(subject(tmp_path)))
    assert (first.level, first.remedy) == (Level.NOTE, "ulimit -n 4096")


class TestPrograms:
    """A PATH of its own, with programs that are missing, old or hang."""

    def look(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
        monkeypatch.setenv("PATH", str(path))
        monkeypatch.setattr("agency.programs._OF_CHECKOUT", path)
        return {one.subject: one for one in look_at_programs(Subject(None))}

    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.look(tmp_path, monkeypatch)
        for name in ("git", "sops", "age-keygen"):
            assert found[name].level is Level.BAD
            assert "is not installed" in found[name].message
            assert found[name].remedy
        assert found["python"].level is Level.OK

    def test_old_sops(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        script = tmp_path / "sops"
        script.write_text("#!/bin/sh\necho sops 3.8.1\n")
        script.chmod(0o755)
        found = self.look(tmp_path, monkeypatch)["sops"]
        assert found.level is Level.BAD
        assert "3.9 or newer is needed" in found.message

    def test_one_that_hangs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agency.doctor.programs._TIMEOUT_S", 0.5)
        script = tmp_path / "git"
        script.write_text("#!/bin/sh\n/bin/sleep 60\n")
        script.chmod(0o755)
        found = self.look(tmp_path, monkeypatch)["git"]
        assert (found.level, found.message) == (Level.BAD, "no end after 0.5 s")
