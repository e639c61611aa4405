"""Where leases are kept, who ends them, and what is said where nobody does."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from agency.errors import PrerequisiteError
from agency.paths import sandbox_dir
from agency.sandbox import commands, timer
from agency.sandbox.lease import Lease, Size, State
from agency.sandbox.machines import IncusMachines
from agency.sandbox.source import Source

ROOT = Path(__file__).resolve().parents[3]
LEASE = Lease("lease-x", ".", None, State.READY, 0.0, 60.0, 1024, 1, 20001)


def test_roots_leases_are_in_one_place_whatever_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place = sandbox_dir({"XDG_STATE_HOME": "/home/somebody"})
    assert place == Path("/var/lib/agency-sandbox") == sandbox_dir({})
    assert sandbox_dir({"AGENCY_SANDBOX_DIR": "/elsewhere"}) == Path("/elsewhere")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sandbox_dir({"XDG_STATE_HOME": "/home/x"}) == Path("/home/x/agency/sandbox")


def test_the_exported_unit_looks_where_roots_leases_are() -> None:
    units = ROOT / "modules/portable/machine/etc/systemd/system"
    service = (units / timer.SERVICE).read_text().splitlines()
    assert "ExecStart=/opt/agency/bin/agency sandbox expire" in service
    assert "User=root" in service
    assert "StateDirectory=agency-sandbox" in service
    assert not [line for line in service if "XDG_STATE_HOME" in line or "AGENCY_" in line]
    assert f"OnCalendar={timer._WHEN}" in (units / timer.TIMER).read_text().splitlines()


@pytest.mark.parametrize(
    ("uid", "environ", "booted", "says"),
    [
        (1000, {}, True, "only root's"),
        (0, {"AGENCY_SANDBOX_DIR": "/x"}, True, "does not use AGENCY_SANDBOX_DIR"),
        (0, {"AGENCY_INCUS_DIR": "/x"}, True, "does not use AGENCY_INCUS_DIR"),
        (0, {"INCUS_SOCKET": "/x"}, True, "does not use INCUS_SOCKET"),
        (0, {}, False, "systemd does not run this machine"),
    ],
)
def test_why_no_timer_ends_leases(
    uid: int,
    environ: dict[str, str],
    booted: bool,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    place = tmp_path if booted else tmp_path / "none"
    assert says in str(asyncio.run(timer.arm(environ, place)))


def test_a_machine_without_a_bus_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert "could not be started" in str(asyncio.run(timer.arm({}, tmp_path)))


@pytest.mark.parametrize("why_not", [None, "systemd does not run this machine"])
def test_up_says_plainly_who_ends_the_lease(
    why_not: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def up(source: Source, ttl_s: float, size: Size) -> tuple[Lease, str | None]:
        return LEASE, why_not

    monkeypatch.setattr(commands, "_up", up)
    said = CliRunner().invoke(commands.sandbox, ["up", "--source", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert ("no timer ends it: systemd does not" in said.output) is (why_not is not None)
    assert ("`agency sandbox up`, `expire` and `down`" in said.output) is (why_not is not None)
    facts = CliRunner().invoke(commands.sandbox, ["up", "--source", str(tmp_path), "--json"])
    told = json.loads(facts.output)
    assert (told["timer"], told["no_timer_because"]) == (why_not is None, why_not)


def test_expiry_starts_no_incus_and_down_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The timer's unit must not become the home of a daemon with all its machines."""
    asked = []

    def expire_or_down(self: object, *names: str) -> object:
        asked.append(self.machines.starts)  # type: ignore[attr-defined]

        async def done() -> object:
            return bool(names) or ()

        return done()

    monkeypatch.setenv("AGENCY_SANDBOX_DIR", str(tmp_path))
    monkeypatch.setattr(commands.Manager, "expire", expire_or_down)
    monkeypatch.setattr(commands.Manager, "down", expire_or_down)
    for arguments in (["expire"], ["down", "lease-x"]):
        assert CliRunner().invoke(commands.sandbox, arguments).exit_code == 0
    assert asked == [False, True]


def test_an_incus_that_does_not_run_is_not_started_for_a_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = tmp_path / "incus"
    directory.mkdir()
    monkeypatch.setenv("AGENCY_INCUS_DIR", str(directory))
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    machines = IncusMachines(tmp_path, None, None, starts=False)  # type: ignore[arg-type]
    assert asyncio.run(machines.existing()) == frozenset()
    asyncio.run(machines.destroy("agency-lease-x"))
    assert [*directory.iterdir()] == []


def test_who_cannot_build_the_image_is_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("AGENCY_INCUS_DIR", str(tmp_path / "incus"))
    machines = IncusMachines(
        tmp_path,
        None,  # type: ignore[arg-type] # neither is called
        None,  # type: ignore[arg-type]
        has_image=lambda: False,
    )
    with pytest.raises(PrerequisiteError, match="only root can build"):
        asyncio.run(machines.make(LEASE, Size(), tmp_path))
    assert not (tmp_path / "incus").exists()


def test_without_an_incus_no_image_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def hold_image(marker: str) -> object:
        asked.append(marker)
        raise AssertionError("an image takes minutes")

    monkeypatch.setenv("AGENCY_INCUS_DIR", "/proc/none/incus")
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "none"))
    machines = IncusMachines(tmp_path, hold_image, None)  # type: ignore[arg-type]
    with pytest.raises(PrerequisiteError):
        asyncio.run(machines.make(LEASE, Size(), tmp_path))
    assert asked == []
