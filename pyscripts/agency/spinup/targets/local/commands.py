"""Commands `agency up`, `agency down` and `agency status`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.clock import Clock
from agency.commandline import console, emit, json_option
from agency.errors import ExitCode
from agency.protocols import ReadyReport
from agency.spinup.options import instance_options
from agency.spinup.targets.local import keep


def _describe(printer: Console, status: keep.Status) -> None:
    if status.state is None:
        printer.print("starting" if status.running else "not running; start it with: agency up")
        return
    state = status.state
    verdict = ("ready", "green") if status.ready else ("running, but not ready", "red")
    printer.print(Text.assemble(f"{state.instance}: ", verdict, f"; started at {state.started_at}"))
    report = status.report or ReadyReport(ready=status.ready)
    for kind, texts in (("reason", report.reasons), ("warning", report.warnings)):
        for each in texts:
            printer.print(Text(f"  {kind:13} {each}"), soft_wrap=True)
    for label, value in (
        ("homeserver", state.homeserver),
        ("control room", state.control_room),
        ("operator", state.operator),
        ("password", f"in {state.password_file}"),
        ("logs", state.logs),
    ):
        printer.print(f"  {label:13} {value}", soft_wrap=True)
    printer.print("say something: agency room ping", soft_wrap=True)


@click.command()
@instance_options
@click.option("--foreground", is_flag=True, help="Do not detach; end with Ctrl-C.")
@json_option
def up(
    instance: Path, age_key: Path | None, ports: dict[str, int], foreground: bool, as_json: bool
) -> None:
    """Start a local agency and keep it running; does nothing when one runs already.

    It is for trying things out: `agency down` removes everything it held.
    """
    if foreground:
        asyncio.run(keep.run_foreground(instance, age_key, ports, Clock()))
        return
    if keep.read_state() is None:
        with console(stderr=True).status("starting a homeserver and the control plane"):
            keep.start_detached(instance.resolve(), age_key, ports)
    status = asyncio.run(keep.observe())
    emit(keep.as_json(status), as_json=as_json, human=lambda printer: _describe(printer, status))


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the local agency and remove what it held; does nothing when none runs."""
    stopped = keep.stop()
    emit(
        {"stopped": stopped},
        as_json=as_json,
        human=lambda printer: printer.print("stopped" if stopped else "nothing was running"),
    )


@click.command()
@json_option
def status(as_json: bool) -> int:
    """Say how the local agency is; exit status 1 when it is not ready."""
    found = asyncio.run(keep.observe())
    emit(keep.as_json(found), as_json=as_json, human=lambda printer: _describe(printer, found))
    return int(ExitCode.DONE if found.ready else ExitCode.BAD)
