"""What is missing is named before anything is made: exit status 3, and no transcript."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest_asyncio
from driving import ROOT, SpinUp

from agency.guests.incus.client import Incus
from agency.guests.incus.daemon import POOL, answers, connect_incus, own_daemon

Make = Callable[..., SpinUp]


def without(place: Path, *absent: str) -> str:
    """A PATH with every program of this machine but a few."""
    place.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        if Path(directory).is_dir():
            for program in Path(directory).iterdir():
                link = place / program.name
                if program.name not in absent and not link.is_symlink():
                    link.symlink_to(program)
    return str(place)


def refused(run_up: SpinUp, ground: Any) -> str:
    assert run_up.start().end() == 3, run_up.text
    assert not run_up.output.exists()
    assert not run_up.public_key.exists()
    ground.assert_nothing_left()
    return run_up.text


def changed(run_up: SpinUp, **environment: str) -> SpinUp:
    run_up.environment = {**run_up.environment, **environment}
    return run_up


def test_every_program_that_is_missing_is_named(spinup: Make, ground: Any, tmp_path: Path) -> None:
    path = without(tmp_path / "bin", "npm", "mmdebstrap", "age-keygen")
    said = refused(changed(spinup(), PATH=path), ground)
    for name in ("npm", "mmdebstrap", "age-keygen"):
        assert f"the program '{name}' is not installed" in said
    assert "sops" not in said


def test_a_pool_that_is_not_there_is_named(spinup: Make, ground: Any) -> None:
    assert "nosuch: there is no such storage pool" in refused(spinup("--pool", "nosuch"), ground)
    daemon = own_daemon(ground.place.environ)
    assert not answers(daemon.socket), "an Incus that was started for a look was left"


@pytest_asyncio.fixture
async def bare(place: Any) -> AsyncIterator[Incus]:
    """An Incus without any storage pool, as Debian's package leaves it."""
    directory = Path(place.environ["AGENCY_INCUS_DIR"]).parent / "bare"
    async with connect_incus({**place.environ, "AGENCY_INCUS_DIR": str(directory)}) as client:
        await client._transport.call("DELETE", f"/1.0/storage-pools/{POOL}")
        assert await client.pools() == {}
        yield client


async def test_an_incus_of_the_host_without_a_pool_gets_one_by_set_up(
    bare: Incus, spinup: Make, ground: Any, tmp_path: Path
) -> None:
    path = without(tmp_path / "bin", "npm")
    run_up = changed(spinup(), PATH=path, INCUS_SOCKET=str(bare.socket))
    said = await asyncio.to_thread(refused, run_up, ground)
    assert "the program 'npm' is not installed" in said
    assert "Incus has no storage pool for guests" in said
    assert f"incus storage create {POOL} dir" in said
    for expected in ("making the storage pool", ""):
        done = set_up(bare, tmp_path)
        assert done.returncode == 0, done
        assert expected in done.stdout
        assert bool(expected) is bool(done.stdout)
        assert await bare.pools() == {POOL: "dir"}


def set_up(client: Incus, home: Path) -> subprocess.CompletedProcess[str]:
    """The tool as `make setup-guest` calls it, on a machine that has all of the packages."""
    argv = [sys.executable, "-c", "import guest_host; guest_host.ensure_pool()"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    environment |= {"INCUS_SOCKET": str(client.socket), "PYTHONPATH": str(ROOT / "tools")}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
