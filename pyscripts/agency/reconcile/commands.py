"""`agency reconcile`: bring one part of the machine to its declared state."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option
from agency.errors import UsageError
from agency.reconcile.engine import registry
from agency.reconcile.engine.engine import Engine, Limits, Outcome, Report
from agency.reconcile.engine.lock import lock_dir
from agency.secrets import credentials

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_SETTINGS = "/etc/agency/reconcile/{name}.json"


@click.command()
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when something differs.")
@click.option("--list", "show_list", is_flag=True, help="List the reconcilers.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The settings, a JSON file.  [default: /etc/agency/reconcile/NAME.json]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=Limits().run_s,
    show_default=True,
    help="Longest that the run may take, in seconds.",
)
@json_option
@click.pass_context
def reconcile(
    ctx: click.Context,
    name: str | None,
    check: bool,
    show_list: bool,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Bring one part of this machine to its declared state, or list the differences.

    A run changes nothing if nothing differs. Secrets are read from $CREDENTIALS_DIRECTORY; root, by
    hand, needs none where NixOS listed the files beside the settings.
    """
    if show_list:
        if name is not None:
            raise UsageError("--list takes no name", where="NAME")
        _print_list(as_json=as_json)
        return
    if name is None:
        raise UsageError(
            "no reconciler is named", where="NAME", hint="`agency reconcile --list` lists them"
        )
    file = config or Path(DEFAULT_SETTINGS.format(name=name))
    with credentials(file, os.environ):
        report = asyncio.run(run(name, file, check=check, timeout_s=timeout))
    emit(report.as_dict(), as_json=as_json, human=_printer(report))
    ctx.exit(int(report.exit_code))


async def run(name: str, file: Path, *, check: bool, timeout_s: float) -> Report:
    """Run the reconciler `name` with the settings in `file`.

    Raises:
        AgencyError: invalid settings, a missing prerequisite, or a state that cannot be observed.
    """
    settings, opened = registry.load(name, file)
    async with opened(settings) as reconciler:
        engine = Engine(name, reconciler, lock_dir(name, os.environ))
        engine.limits = Limits(run_s=timeout_s)
        return await engine.run(check=check)


def _print_list(*, as_json: bool) -> None:
    def human(console: Console) -> None:
        width = max(map(len, registry.RECONCILERS))
        for name, entry in registry.RECONCILERS.items():
            console.print(f"{name:{width}}  {entry.summary}", markup=False)

    told = [{"name": name, "summary": e.summary} for name, e in registry.RECONCILERS.items()]
    emit(told, as_json=as_json, human=human)


def _printer(report: Report) -> Callable[[Console], None]:
    def line(console: Console, mark: str, told: dict[str, str]) -> None:
        text = f"{mark} {told['part']}: {told['what']}: {told['from']} -> {told['to']}"
        console.print(text, markup=False)

    def human(console: Console) -> None:
        for change in report.applied:
            line(console, "changed", change.as_dict())
        for failure in report.failures:
            line(console, "failed ", failure.change.as_dict())
            console.print(f"  {failure.error}".replace("\n", "\n  "), markup=False)
        failed = {failure.change for failure in report.failures}
        for change in report.pending:
            if change in failed:
                continue
            line(console, "differs", change.as_dict())
            if change.blocked:
                console.print(f"  {change.blocked}", markup=False)
            if change.hint:
                console.print(f"  hint: {change.hint}", markup=False)
        console.print(f"{report.name}: {_summary(report)}", markup=False)

    return human


def _summary(report: Report) -> str:
    match report.outcome:
        case Outcome.UNCHANGED:
            return "nothing differs"
        case Outcome.CHANGED:
            return f"{len(report.applied)} changed, nothing differs any more"
        case Outcome.DRIFT:
            return f"{len(report.pending)} differ"
        case Outcome.FAILED:
            return f"{len(report.applied)} changed, {len(report.pending)} still differ"
