"""`agency sandbox`: lease a review machine, list leases, end them."""

from __future__ import annotations

import asyncio

import click
from rich.console import Console
from rich.table import Table

from agency.clock import Clock, iso
from agency.commandline import add_unwritten, emit, json_option
from agency.paths import sandbox_dir, state_dir
from agency.sandbox import timer
from agency.sandbox.contents import Contents
from agency.sandbox.lease import Bounds, Lease, Size, parse_ttl
from agency.sandbox.machines import IncusMachines
from agency.sandbox.manager import Manager
from agency.sandbox.source import Source, parse_source
from agency.sandbox.store import Leases


@click.group()
def sandbox() -> None:
    """Lease throwaway machines that run a change, to look at it."""


def _leases() -> Leases:
    return Leases(sandbox_dir() / "leases.db", Bounds())


def _manager(*, starts: bool = True) -> Manager:
    state = sandbox_dir()
    contents = Contents(state_dir() / "guest")  # images are shared with spin-ups
    machines = IncusMachines(
        state, contents.hold_image, contents.activate, contents.has_image, starts=starts
    )
    return Manager(_leases(), machines, state, Clock())


async def _up(source: Source, ttl_s: float, size: Size) -> tuple[Lease, str | None]:
    """Make a lease; return it, and the reason if no timer will end it."""
    why_not = await timer.arm()
    return await _manager().up(source, ttl_s, size), why_not


def _facts(lease: Lease) -> dict[str, object]:
    return {
        "name": lease.name,
        "source": lease.source,
        "commit": lease.commit,
        "state": str(lease.state),
        "url": lease.url,
        "created_at": iso(lease.created_at),
        "expires_at": iso(lease.expires_at),
        "memory_mb": lease.memory_mb,
        "cpus": lease.cpus,
        "guest": lease.guest,
    }


@sandbox.command()
@click.option("--source", required=True, metavar="DIR|GIT@SHA", help="What it runs.")
@click.option("--ttl", default="2h", show_default=True, help="How long it lasts: 90s, 30m, 2h, 1d.")
@click.option(
    "--memory-mb",
    type=click.IntRange(1024, Bounds().memory_mb),
    default=Size().memory_mb,
    show_default=True,
    help="Memory of the machine in MiB.",
)
@click.option(
    "--cpus",
    type=click.IntRange(1, Bounds().cpus),
    default=Size().cpus,
    show_default=True,
    help="Processors of the machine.",
)
@json_option
def up(source: str, ttl: str, memory_mb: int, cpus: int, as_json: bool) -> None:
    """Make a machine that runs the source and lead a loopback port of this host to it."""
    ttl_s, wanted = parse_ttl(ttl), parse_source(source)
    lease, why_not = asyncio.run(_up(wanted, ttl_s, Size(memory_mb, cpus)))

    def human(printer: Console) -> None:
        printer.print(f"{lease.name}: {lease.url} until {iso(lease.expires_at)}", soft_wrap=True)
        printer.print(f"end it: agency sandbox down {lease.name}", soft_wrap=True)
        if why_not is not None:
            printer.print(f"no timer ends it: {why_not}", soft_wrap=True)
            printer.print("only `agency sandbox up`, `expire` and `down` end leases here")

    facts = {**_facts(lease), "timer": why_not is None, "no_timer_because": why_not}
    emit(facts, as_json=as_json, human=human)


@sandbox.command("list")
@json_option
def list_leases(as_json: bool) -> None:
    """List the leases, earliest end first."""
    found = _leases().all()

    def human(printer: Console) -> None:
        if not found:
            printer.print("no leases")
            return
        table = Table(box=None, pad_edge=False)
        for title in ("name", "state", "url"):  # to be copied: never cut
            table.add_column(title, no_wrap=True)
        for title in ("until (UTC)", "source"):
            table.add_column(title, overflow="fold")
        for lease in found:
            until = iso(lease.expires_at)[:16].replace("T", " ")
            table.add_row(lease.name, lease.state, lease.url or "", until, lease.source)
        printer.print(table)

    emit([_facts(lease) for lease in found], as_json=as_json, human=human)


@sandbox.command()
@click.argument("name")
@json_option
def down(name: str, as_json: bool) -> None:
    """End a lease and remove its machine; one that has ended already is no error."""
    ended = asyncio.run(_manager().down(name))

    def human(printer: Console) -> None:
        printer.print(f"ended {name}" if ended else f"there is no lease {name}")

    emit({"name": name, "ended": ended}, as_json=as_json, human=human)


@sandbox.command()
@json_option
def expire(as_json: bool) -> None:
    """End the leases whose time is up and remove what killed runs left; for a timer to call."""
    ended = asyncio.run(_manager(starts=False).expire())

    def human(printer: Console) -> None:
        for name in ended or ("nothing",):
            printer.print(f"ended {name}")

    emit({"ended": ended}, as_json=as_json, human=human)


add_unwritten(sandbox)
