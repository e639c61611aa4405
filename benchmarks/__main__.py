"""`python -m benchmarks`: print the numbers, write them to a file, exit 1 on a missed limit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from benchmarks import (
    audit,
    chat,
    crowd,
    dashboard,
    flood,
    gateway,
    guest,
    inventory,
    models,
    nix,
    operations,
    recipes,
    spinup,
    startup,
    sustained,
    working,
)
from benchmarks.rows import Row

SUITES: dict[str, Callable[[], Iterable[Row]]] = {
    "startup": startup.rows,
    "spinup": spinup.rows,
    "chat": chat.rows,
    "operations": operations.rows,
    "flood": flood.rows,
    "inventory": inventory.rows,
    "sustained": sustained.rows,
    "audit": audit.rows,
    "gateway": gateway.rows,
    "models": models.rows,
    "working": working.rows,
    "dashboard": dashboard.rows,
    "crowd": crowd.rows,
    "nix": nix.rows,
    "guest": guest.rows,
    "recipes": recipes.rows,
}
# These take minutes and a machine of their own, and are measured when named.
WHEN_NAMED = ("guest", "crowd", "recipes")


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("artifacts/bench.jsonl"))
@click.option(
    "--slack",
    type=click.FloatRange(min=1, max=3),
    default=1.0,
    show_default=True,
    help="How many times a limit a number may be before the command fails.",
)
@click.argument("suites", nargs=-1, type=click.Choice(list(SUITES)))
def main(output: Path, slack: float, suites: tuple[str, ...]) -> None:
    """Measure SUITES (without any, all that need no guest)."""
    output.parent.mkdir(parents=True, exist_ok=True)
    good = True
    with output.open("w") as kept:
        for name in suites or [name for name in SUITES if name not in WHEN_NAMED]:
            for row in SUITES[name]():
                click.echo(row.line())
                kept.write(row.line() + "\n")
                good &= row.within(slack)
                if not row.ok:
                    click.echo(f"MISSED: {row.name}", err=True)
    sys.exit(0 if good else 1)


main()
