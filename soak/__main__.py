"""Command line: `python -m soak`, or `make soak`."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

import click

from soak.parts import NotWellError, SoakError
from soak.run import Options, Outcome, soak

_STORES = ("sqlite", "postgresql")
_LAST_LINES = 15
_AROUND_S = 20.0  # of the timeline shown before and after a fault


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=float, default=30.0, show_default=True, help="Length of each run.")
@click.option("--commands", type=int, default=2000, show_default=True, help="Of the operators.")
@click.option("--seed", type=int, help="Of the plan; drawn if left out, and always printed.")
@click.option("--store", type=click.Choice([*_STORES, "both"]), default="both", show_default=True)
@click.option("--side-by-side", is_flag=True, help="Run both stores at the same time.")
@click.option("--calm", type=float, default=12.0, show_default=True, help="Mean seconds of peace.")
@click.option("--place", type=click.Path(path_type=Path), help="Directory for data and logs.")
@click.option("--output", type=click.Path(path_type=Path), help="File for the lines of results.")
def main(
    minutes: float,
    commands: int,
    seed: int | None,
    store: str,
    side_by_side: bool,
    calm: float,
    place: Path | None,
    output: Path | None,
) -> None:
    """Soak the agency.

    Exits with 1 if an answer was lost, doubled or wrong, or a part did not come up again, and with
    3 if the run could not be made.
    """
    seed = random.randrange(10**6) if seed is None else seed
    place = place or Path(tempfile.mkdtemp(prefix="agency-soak-"))
    place.mkdir(parents=True, exist_ok=True)
    click.echo(f"seed {seed}; data and logs in {place}")
    chosen = _STORES if store == "both" else (store,)
    options = [Options(each, minutes, commands, seed, place / each, calm) for each in chosen]
    try:
        faults = asyncio.run(_run(options, output, together=side_by_side))
    except SoakError as error:
        click.echo(f"error: {error}", err=True)
        for journal in sorted(place.glob("*/journal.jsonl")):
            click.echo(f"the end of {journal}:", err=True)
            click.echo("\n".join(journal.read_text().splitlines()[-_LAST_LINES:]), err=True)
        raise SystemExit(1 if isinstance(error, NotWellError) else 3) from error
    raise SystemExit(1 if faults else 0)


async def _run(options: list[Options], output: Path | None, *, together: bool) -> int:
    """Make the runs, and tell of each when it ends; returns the number of faults."""
    if together:
        return sum(await asyncio.gather(*(_one(each, output) for each in options)))
    return sum([await _one(each, output) for each in options])


async def _one(options: Options, output: Path | None) -> int:
    outcome = await soak(options)
    line = json.dumps(outcome.figures)
    click.echo(line)
    if output is not None:
        with output.open("a") as file:
            file.write(line + "\n")
    _show(outcome)
    return len(outcome.faults)


def _show(outcome: Outcome) -> None:
    """Print each fault with the events around it."""
    journal = outcome.journal
    for fault in outcome.faults:
        click.echo(f"\n{fault.kind.upper()}: {fault.why}")
        for body in fault.seen:
            click.echo(f"  answer: {body!r}")
        said = fault.said
        if said is None:
            continue
        moment = time.strftime("%H:%M:%S", time.gmtime(said.sent))
        at_s = said.sent - journal.begun
        click.echo(f"  {said.step.text!r} ({said.step.manner}) {said.event_id}")
        click.echo(f"  sent {moment} UTC, {at_s:.1f} s after the begin; around it:")
        for line in journal.path.read_text().splitlines():
            entry = json.loads(line)
            near = abs(entry["at_s"] - at_s) < _AROUND_S and entry["what"] != "said"
            if near or entry.get("event") == said.event_id:
                click.echo(f"    {line}")
    if outcome.faults:
        click.echo(f"\nthe logs of all parts, and journal.jsonl: {journal.path.parent}")


if __name__ == "__main__":
    main()
