"""`agency guest`: the throwaway machines that spin-ups and sandboxes made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator

import click
from rich.console import Console
from rich.table import Table

from agency.commandline import emit, json_option
from agency.errors import UsageError
from agency.guests.incus.client import Incus
from agency.guests.incus.daemon import connect_incus, host_socket, is_running
from agency.guests.incus.errors import INCUS_INSTALL_HINT
from agency.guests.machines.janitor import Held, Purpose, ours
from agency.guests.machines.machine import Guest
from agency.paths import sandbox_dir, state_dir
from agency.programs import find_program


@click.group()
def guest() -> None:
    """Look into and remove the machines that spin-ups made."""


def _facts(held: Held) -> dict[str, object]:
    return {
        "name": held.instance.name,
        "run": held.run,
        "purpose": str(held.purpose),
        "kind": str(held.instance.kind),
        "status": held.instance.status,
        "created_at": held.instance.created_at,
        "run_alive": held.alive,
        "left_behind": held.left_behind,
    }


@contextlib.asynccontextmanager
async def _held() -> AsyncIterator[tuple[Incus | None, tuple[Held, ...]]]:
    """This user's guests, and the Incus that holds them."""
    if host_socket() is None and not is_running():
        yield None, ()  # what does not run holds no guests: nothing is started for a look
        return
    async with connect_incus() as client:
        instances = await client.instances()
        yield client, (*ours(instances, state_dir()), *ours(instances, sandbox_dir()))


async def _list() -> tuple[Held, ...]:
    async with _held() as (_, found):
        return found


@guest.command("list")
@json_option
def list_guests(as_json: bool) -> None:
    """List the guests that this user's spin-ups and sandboxes made."""
    found = asyncio.run(_list())

    def human(printer: Console) -> None:
        if not found:
            printer.print("no guests")
            return
        table = Table("name", "for", "kind", "status", "its run")
        for held in found:
            run = "runs" if held.alive else "ended"
            instance = held.instance
            table.add_row(instance.name, held.purpose, instance.kind, instance.status, run)
        printer.print(table)

    emit([_facts(held) for held in found], as_json=as_json, human=human)


def _one(found: tuple[Held, ...], name: str) -> Held:
    for held in found:
        if held.instance.name == name:
            return held
    raise UsageError("no guest of that name", where=name, hint="`agency guest list` names them")


def chosen(found: tuple[Held, ...], names: tuple[str, ...], *, force: bool) -> tuple[Held, ...]:
    """The guests to destroy: those named, or without names all whose run has ended.

    Raises:
        UsageError: one is not there, or somebody still uses it and it is not forced.
    """
    wanted = tuple(_one(found, name) for name in names) if names else found
    if force:
        return wanted
    for held in wanted:
        name = held.instance.name
        if held.purpose is Purpose.LEASE:
            hint = f"agency sandbox down {held.run}; --force destroys the machine under it"
            raise UsageError("it is leased", where=name, hint=hint)
        if held.alive:
            hint = "wait for it or interrupt it; --force destroys the guest under it"
            raise UsageError("its run still runs and will remove it", where=name, hint=hint)
        if held.purpose is Purpose.KEPT and not names:
            hint = "name it to destroy it; --force destroys every guest"
            raise UsageError("it was kept to be looked at", where=name, hint=hint)
    return wanted


async def _destroy(names: tuple[str, ...], force: bool) -> tuple[str, ...]:
    async with _held() as (client, found):
        wanted = chosen(found, names, force=force)
        for held in wanted:
            assert client is not None  # it holds them
            await Guest.of(client, held.instance).destroy()
    return tuple(held.instance.name for held in wanted)


@guest.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every guest that nobody uses.")
@click.option(
    "--force", is_flag=True, help="Also guests that are leased, were kept or whose run still runs."
)
@json_option
def destroy(names: tuple[str, ...], everything: bool, force: bool, as_json: bool) -> None:
    """Destroy guests: those named, or all."""
    if bool(names) == everything:
        raise UsageError("name the guests to destroy, or say --all", where="agency guest destroy")
    destroyed = asyncio.run(_destroy(names, force))

    def human(printer: Console) -> None:
        for name in destroyed or ("nothing",):
            printer.print(f"destroyed {name}")

    emit({"destroyed": destroyed}, as_json=as_json, human=human)


async def _shell(name: str, command: tuple[str, ...]) -> int:
    program = find_program("incus", hint=INCUS_INSTALL_HINT)
    async with _held() as (client, found):
        held = _one(found, name)
        assert client is not None  # it holds it
        configuration = state_dir() / "incus-client"
        environment = {
            **os.environ,
            "INCUS_SOCKET": str(client.socket),
            "INCUS_CONF": str(configuration),
        }
        argv = [program, "exec", held.instance.name, "--", *(command or ("bash", "--login"))]
        # The terminal's Ctrl-C is for the program in the guest.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return await asyncio.to_thread(_attached, argv, environment)
        finally:
            signal.signal(signal.SIGINT, before)


def _attached(argv: list[str], environment: dict[str, str]) -> int:
    # A person sits at it: there is no time limit.
    return subprocess.run(argv, env=environment, check=False).returncode


@guest.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(name: str, command: tuple[str, ...]) -> int:
    """Open a root shell in a guest, or run a command there: `agency guest shell NAME -- ARGV`.

    The exit status is that of the shell or command.
    """
    return asyncio.run(_shell(name, command))
