"""Runs that end badly, runs side by side, and who may remove what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner
from interrupting import sigint

from agency import rundir
from agency.clock import new_id
from agency.guests.commands import guest as guest_command
from agency.guests.images.image import hold_image
from agency.guests.incus.client import Incus
from agency.guests.incus.daemon import answers, connect_incus, is_running, own_daemon
from agency.guests.incus.errors import IncusUnreachableError
from agency.guests.incus.model import InstanceSpec, Kind, Limits
from agency.guests.machines.janitor import Owner, keep, ours, reap
from agency.guests.machines.machine import Guest
from agency.guests.machines.placement import bring_in, choose_pool

RUN = """
import asyncio, sys
from pathlib import Path
from agency.guests.machines.placement import bring_in, choose_pool
from agency.guests.incus.daemon import connect_incus
from agency.guests.incus.model import InstanceSpec, Kind, Limits
from agency.guests.machines.janitor import Owner
from agency.guests.machines.machine import Guest
from agency.guests.images.image import hold_image
from agency.guests.images.recipe import ImageRecipe
from agency import rundir
async def main():
    recipe, base, state, run = sys.argv[1:]
    state = Path(state)
    held = rundir.create(state / "runs", run)
    async with hold_image(Path(base), ImageRecipe.model_validate_json(recipe), marker=run) as image:
        async with connect_incus() as client:
            await bring_in(client, image)
            owner = Owner(state, run)
            spec = InstanceSpec(owner.instance, Kind.CONTAINER, image.fingerprint,
                await choose_pool(client), Limits(memory_mb=512), owner.labels())
            guest = await Guest.create(client, spec)
            try:
                await guest.wait_running(timeout_s=60)
                print("running", flush=True)
                await asyncio.sleep(600)
            finally:
                await guest.destroy()
                held.remove()
asyncio.run(main())
"""


@pytest_asyncio.fixture
async def run_in_child(place, small_recipe):
    """Starts runs as processes of their own, and ends those that a test leaves."""
    started = []

    async def start(run: str) -> asyncio.subprocess.Process:
        async with hold_image(place.apart, small_recipe, marker="agency-tests"):
            pass
        arguments = (small_recipe.model_dump_json(), str(place.apart), str(place.state), run)
        with sigint():
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", RUN, *arguments),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **place.environ},
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    async with connect_incus(place.environ) as client:
        rundir.reap(place.state / "runs")
        await reap(client, place.state)


async def is_up(process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(120):
        assert await process.stdout.readline() == b"running\n"


async def names(client: Incus) -> set[str]:
    return {instance.name for instance in await client.instances()}


async def test_a_killed_run_is_reaped_and_a_living_one_is_not(place, run_in_child) -> None:
    dead, alive = new_id("run"), new_id("run")
    dying, living = await run_in_child(dead), await run_in_child(alive)
    await is_up(dying)
    await is_up(living)
    dying.kill()
    await dying.wait()
    async with connect_incus(place.environ) as client:
        assert await names(client) == {f"agency-{dead}", f"agency-{alive}"}
        found = {held.run: held.left_behind for held in ours(await client.instances(), place.state)}
        assert found == {dead: True, alive: False}
        elsewhere = place.state.parent / "other"
        assert await reap(client, elsewhere) == (), "another's guests are not ours to remove"
        assert await reap(client, place.state) == (f"agency-{dead}",)
        assert await names(client) == {f"agency-{alive}"}
    living.send_signal(signal.SIGINT)
    await living.wait()
    rundir.reap(place.state / "runs")
    assert not answers(own_daemon(place.environ).socket), "the last to leave stops Incus"


async def test_an_interrupted_run_leaves_nothing(place, run_in_child) -> None:
    run = new_id("run")
    process = await run_in_child(run)
    await is_up(process)
    process.send_signal(signal.SIGINT)
    assert await process.wait() != 0
    assert not is_running(place.environ)
    assert not (place.state / "runs" / run).exists()


async def test_a_creation_that_is_cancelled_leaves_nothing(place, small_recipe) -> None:
    owner = Owner(place.state, new_id("run"))
    async with (
        hold_image(place.apart, small_recipe, marker="agency-tests") as image,
        connect_incus(place.environ) as client,
    ):
        await bring_in(client, image)
        pool = await choose_pool(client)
        spec = InstanceSpec(
            owner.instance, Kind.CONTAINER, image.fingerprint, pool, Limits(), owner.labels()
        )
        for patience in (0.05, 0.5, 1.0):
            creating = asyncio.create_task(Guest.create(client, spec))
            await asyncio.sleep(patience)
            assert not creating.done(), "it was made too fast to be interrupted"
            creating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await creating
            assert await names(client) == set()


async def test_an_instance_of_somebody_else_is_never_touched(place, small_recipe) -> None:
    async with (
        hold_image(place.apart, small_recipe, marker="agency-tests") as image,
        connect_incus(place.environ) as client,
    ):
        await bring_in(client, image)
        pool = await choose_pool(client)
        labels = Owner(place.state, "run-of-mine").labels()
        for name, given in (("somebody", {}), ("agency-run-1", {}), ("a-copy", labels)):
            spec = InstanceSpec(name, Kind.CONTAINER, image.fingerprint, pool, Limits(), given)
            await client.create(spec, timeout_s=60)
        try:
            assert ours(await client.instances(), place.state) == ()
            assert await reap(client, place.state) == ()
            assert await names(client) == {"somebody", "agency-run-1", "a-copy"}
        finally:
            for name in await names(client):
                await client.delete(name, timeout_s=60)


async def test_what_is_kept_stays_until_a_person_removes_it(
    place, small_recipe, monkeypatch
) -> None:
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)
    owner = Owner(place.state, new_id("run"))
    async with (
        hold_image(place.apart, small_recipe, marker="agency-tests") as image,
        connect_incus(place.environ) as client,
    ):
        await bring_in(client, image)
        spec = InstanceSpec(
            owner.instance,
            Kind.CONTAINER,
            image.fingerprint,
            await choose_pool(client),
            Limits(),
            owner.labels(),
        )
        await Guest.create(client, spec)
        await keep(client, owner.instance)
        assert await reap(client, place.state) == ()
    assert is_running(place.environ), "a kept guest needs its Incus"

    listed = await _command("list", "--json")
    assert [one["name"] for one in json.loads(listed)] == [owner.instance]
    assert json.loads(listed)[0]["purpose"] == "kept"
    await _command("destroy", "agency-run-unknown", expect=1)
    await _command("destroy", owner.instance)
    assert json.loads(await _command("list", "--json")) == []
    assert not is_running(place.environ)


async def _command(*arguments: str, expect: int = 0) -> str:
    """Run `agency guest ...`; in a thread, for it makes an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, guest_command, [*arguments])
    assert result.exit_code == expect, result.output
    return result.stdout


async def test_a_directory_that_containers_cannot_enter_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    environ = {"INCUS_SOCKET": "/nonexistent", "AGENCY_INCUS_DIR": str(closed / "incus")}
    with pytest.raises(Exception, match="pass through") as caught:
        async with connect_incus(environ):
            pass
    assert "AGENCY_INCUS_DIR" in caught.value.hint


async def test_a_host_without_incus_is_told_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("agency.guests.incus.daemon._PROGRAMS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(IncusUnreachableError, match="not installed") as caught:
        async with connect_incus({"INCUS_SOCKET": "/nonexistent"}):
            pass
    assert "incus-base" in caught.value.hint
    assert int(caught.value.exit_code) == 3


def nowhere(place: Path) -> dict[str, str]:
    """Make an environment without an Incus of the host."""
    return {"INCUS_SOCKET": "/nonexistent", "AGENCY_INCUS_DIR": str(place)}


async def test_only_root_starts_an_incus(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(IncusUnreachableError, match="root"):
        async with connect_incus(nowhere(tmp_path)):
            pass


async def test_an_incus_that_does_not_start_is_explained(tmp_path, monkeypatch) -> None:
    program = tmp_path / "incusd"
    program.write_text("#!/bin/sh\necho the database is broken\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("agency.guests.incus.daemon._PROGRAMS", (program,))
    place = Path("/var/tmp") / new_id("agency-test")
    try:
        with pytest.raises(IncusUnreachableError, match="the database is broken"):
            async with connect_incus(nowhere(place)):
                pass
    finally:
        import shutil

        shutil.rmtree(place)
