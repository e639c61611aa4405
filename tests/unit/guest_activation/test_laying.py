"""What differs from the wanted files is seen and mended; what is not ours is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agency.guests.activation import files as laying
from agency.guests.activation.definitions import WantedFile

UNIT = "etc/systemd/system/agency-control.service"
WANTED = {
    path: WantedFile(path, text, mode)
    for path, text, mode in (
        (UNIT, b"[Service]\n", 0o644),
        ("usr/lib/agency/nixos/start", b"#!/bin/sh\n", 0o755),
        ("etc/agency/control.json", b"{}", 0o644),
    )
}


def converge(root: Path) -> list[str]:
    superfluous = laying.superfluous(root, WANTED)
    seen = laying.observe(root, (*WANTED, *superfluous))
    changes = laying.differences(WANTED, seen, superfluous)
    laying.lay(root, WANTED, changes)
    return [change.what for change in changes]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that is as wanted; owners are as this user can make them."""
    monkeypatch.setattr(laying.os, "chown", lambda *_, **__: None)
    see = laying.see

    def as_root(path: Path) -> laying.SeenFile | None:
        seen = see(path)
        if seen is None or (seen.uid, seen.gid) != (os.getuid(), os.getgid()):
            return seen
        return laying.SeenFile(seen.kind, seen.digest, seen.mode, detail=seen.detail)

    monkeypatch.setattr(laying, "see", as_root)
    assert sorted(converge(tmp_path)) == sorted(WANTED)
    return tmp_path


def test_a_second_time_changes_nothing(machine: Path) -> None:
    before = {path: (machine / path).stat().st_mtime_ns for path in WANTED}
    assert converge(machine) == []
    assert {path: (machine / path).stat().st_mtime_ns for path in WANTED} == before


def test_directories_are_open_to_readers_and_scripts_run(machine: Path) -> None:
    assert (machine / "usr/lib/agency").stat().st_mode & 0o777 == 0o755
    assert (machine / "usr/lib/agency/nixos/start").stat().st_mode & 0o777 == 0o755


def edit(path: Path) -> None:
    path.write_text("by hand")


def open_up(path: Path) -> None:
    path.chmod(0o666)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


@pytest.mark.parametrize("drift", [edit, open_up, Path.unlink, link, directory])
@pytest.mark.parametrize("path", sorted(WANTED))
def test_drift_heals(machine: Path, path: str, drift: object) -> None:
    drift(machine / path)  # type: ignore[operator]  # any of the above
    # What lay in the way is removed with it.
    assert path in converge(machine)
    assert converge(machine) == []
    assert (machine / path).read_bytes() == WANTED[path].content


def test_a_link_is_replaced_and_not_followed(machine: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    path = machine / UNIT
    path.unlink()
    path.symlink_to(target)
    converge(machine)
    assert target.read_text() == "mine"
    assert not path.is_symlink()


OURS = (
    "etc/systemd/system/agency-control.service.d/override.conf",
    "etc/systemd/system/agency-agent@gone.service.d/50-agency.conf",
    "etc/systemd/system/agency-agents-gone.slice",
    "etc/systemd/system.control/agency-control.service.d/50-MemoryMax.conf",
    "run/systemd/system/agency-control.service.d/override.conf",
    "run/systemd/system/agency-control.service",
    "usr/local/lib/systemd/system/agency-control.service.d/override.conf",
    "etc/systemd/system/timers.target.wants/agency-gone.timer",
    "etc/systemd/system/multi-user.target.wants/agency-agent@gone.service",
    "etc/agency/agents/gone.json",
    "usr/lib/sysusers.d/agency-gone.conf",
    "etc/nftables.d/agency-agents.d/gone.nft",
)
OTHERS = (
    "etc/systemd/system/ssh.service.d/override.conf",
    "etc/systemd/system/multi-user.target.wants/agency-control.service",
    "etc/systemd/system/multi-user.target.wants/ssh.service",
    "run/systemd/system/ssh.service.d/override.conf",
    "usr/lib/sysusers.d/dbus.conf",
    "etc/passwd",
)


@pytest.mark.parametrize("path", OURS)
def test_what_nothing_wants_any_more_goes(machine: Path, path: str) -> None:
    (machine / path).parent.mkdir(parents=True, exist_ok=True)
    (machine / path).write_text("left over")
    assert converge(machine) == [path]
    assert not (machine / path).exists()


@pytest.mark.parametrize("path", OTHERS)
def test_what_is_not_ours_stays(machine: Path, path: str) -> None:
    (machine / path).parent.mkdir(parents=True, exist_ok=True)
    (machine / path).write_text("another's")
    assert converge(machine) == []
    assert (machine / path).read_text() == "another's"
