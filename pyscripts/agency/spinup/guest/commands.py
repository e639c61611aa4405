"""`agency guest`: the throwaway machines that spin-ups and sandboxes made."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import click
from rich.console import Console
from rich.table import Table

from agency.commandline.output import emit, json_option
from agency.errors import UsageError
from agency.paths import state_dir
from agency.programs import find_program
from agency.spinup.guest.incus.client import Incus
from agency.spinup.guest.incus.daemon import INSTALL_HINT, host_socket, incus, is_running
from agency.spinup.guest.machines.janitor import Held, ours
from agency.spinup.guest.machines.machine import Guest


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


async def _list() -> tuple[Held, ...]:
    if host_socket() is None and not is_running():
        return ()  # what does not run holds no guests: nothing is started for a look
    async with incus() as client:
        return ours(await client.instances(), state_dir())


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


async def _one(client: Incus, name: str) -> Held:
    found = {held.instance.name: held for held in ours(await client.instances(), state_dir())}
    if name not in found:
        raise UsageError("no guest of that name", where=name, hint="`agency guest list` names them")
    return found[name]


async def _destroy(names: tuple[str, ...], everything: bool, force: bool) -> tuple[str, ...]:
    async with incus() as client:
        if everything:
            chosen = ours(await client.instances(), state_dir())
        else:
            chosen = tuple([await _one(client, name) for name in names])
        busy = [held.instance.name for held in chosen if held.alive]
        if busy and not force:
            raise UsageError(
                "its run still runs and will remove it",
                where=", ".join(busy),
                hint="wait for it or interrupt it; --force destroys the guest under it",
            )
        for held in chosen:
            await Guest.of(client, held.instance).destroy()
    return tuple(held.instance.name for held in chosen)


@guest.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every guest whose run has ended.")
@click.option("--force", is_flag=True, help="Also guests whose run still runs.")
@json_option
def destroy(names: tuple[str, ...], everything: bool, force: bool, as_json: bool) -> None:
    """Destroy guests: those named, or all."""
    if bool(names) == everything:
        raise UsageError("name the guests to destroy, or say --all", where="agency guest destroy")
    destroyed = asyncio.run(_destroy(names, everything, force))

    def human(printer: Console) -> None:
        for name in destroyed or ("nothing",):
            printer.print(f"destroyed {name}")

    emit({"destroyed": destroyed}, as_json=as_json, human=human)


async def _shell(name: str, command: tuple[str, ...]) -> int:
    program = find_program("incus", hint=INSTALL_HINT)
    async with incus() as client:
        held = await _one(client, name)
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
