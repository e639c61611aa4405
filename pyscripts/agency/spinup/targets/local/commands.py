"""Commands `agency up`, `agency down` and `agency status`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.clock import Clock
from agency.commandline import console, emit, json_option, log_to_stderr
from agency.errors import ExitCode
from agency.spinup.options import instance_options
from agency.spinup.targets.local import keep, place, verbs
from agency.terminal import plain

_MIB = 1024 * 1024
_NOBODY = (
    "nobody can approve what needs an approval: name a second person in `approvers`, or set "
    "`approvals.soloDelay`, in instance.yaml"
)
_ON_HOSTS = (
    "units of a host, which do not run here; docs/workspace.md says what can be started by hand"
)


def _line(printer: Console, text: str, style: str = "") -> None:
    """Print a line as it is: names and paths are never markup."""
    printer.print(Text(text, style=style), soft_wrap=True)


def _describe(printer: Console, status: verbs.Status) -> None:
    state = status.state
    if not status.running:
        _line(printer, "not running; start it with: agency up")
        if status.kept is not None:
            _line(printer, f"  kept          {status.kept}")
            _line(printer, "go on with it: agency up; remove it: agency down")
        return
    if state is None:
        _line(printer, "starting")
        return
    verdict = Text("ready", "green") if status.ready else Text("running, but not ready", "red")
    printer.print(Text(f"{state.instance}: ").append(verdict), soft_wrap=True)
    for reason in status.reasons:
        _line(printer, f"  not ready     {reason}")
    for warning in status.warnings:
        _line(printer, f"  warning       {warning}")
    for label, value in (
        ("started", state.started_at),
        ("homeserver", state.homeserver),
        ("HTTP API", state.api or "-"),
        ("control room", state.control_room),
        ("operator", state.operator),
        ("password", f"in {state.password_file}"),
        ("logs", state.logs),
    ):
        _line(printer, f"  {label:13} {value}")
    if state.nobody_approves:
        _line(printer, f"  note          {_NOBODY}")
    for name, features in state.only_on_hosts.items():
        _line(printer, f"  note          {name}: {', '.join(features)}: {_ON_HOSTS}")
    _line(printer, "say something: agency room ping" if status.ready else "stop it: agency down")


def _show_log(error: place.LocalAgencyError) -> None:
    if not error.log_tail:
        return
    printer = console(stderr=True)
    _line(printer, "the end of the log:")
    for line in error.log_tail:
        _line(printer, f"  | {plain(line)}")


def _foreground(
    instance: Path, age_key: Path | None, ports: dict[str, int], lock_fd: int | None
) -> None:
    lock = place.Lock(lock_fd) if lock_fd is not None else place.take_lock()
    if lock is None:
        raise place.LocalAgencyError(
            "it runs already", where="agency up", hint="see `agency status`; end it: agency down"
        )
    # It is let go by the end of this process: who has it next must not find this one running.
    os.set_inheritable(lock.descriptor, False)
    lock.names(os.getpid())
    log_to_stderr()
    asyncio.run(keep.run_foreground(instance, age_key, ports, Clock(), lock))


@click.command()
@instance_options
@click.option("--foreground", is_flag=True, help="Do not detach; end with Ctrl-C.")
@click.option("--lock-fd", type=click.IntRange(min=3), hidden=True)
@json_option
def up(
    instance: Path,
    age_key: Path | None,
    ports: dict[str, int],
    foreground: bool,
    lock_fd: int | None,
    as_json: bool,
) -> int:
    """Start a local agency and keep it running; does nothing when one runs already.

    It goes on with what an earlier one kept: the same room, audit log and data. A service that
    ends is started again, after a wait that grows to 30 s. `agency down` stops it and removes its
    data. Exit status 1 when it does not become ready.
    """
    if foreground:
        _foreground(instance, age_key, ports, lock_fd)
        return int(ExitCode.DONE)
    try:
        with console(stderr=True).status("starting a homeserver and the control plane"):
            verbs.start_detached(instance.resolve(), age_key, ports)
    except place.LocalAgencyError as error:
        if not as_json:
            _show_log(error)
        raise
    return _show(asyncio.run(verbs.observe()), as_json=as_json)


@click.command()
@click.option("--keep", "kept", is_flag=True, help="Keep the data; `agency up` goes on with it.")
@click.option("--yes", is_flag=True, help="Do not ask before the data is removed.")
@json_option
def down(kept: bool, yes: bool, as_json: bool) -> None:
    """Stop the local agency and remove its data, or keep it; does nothing when there is none.

    The data is the homeserver with its rooms and accounts, the control plane with its audit log,
    the logs, and the secrets that were generated. On a terminal it is asked for first; who answers
    no keeps it.
    """
    stopped, lock = verbs.stop()
    try:
        told = [(directory, place.size_bytes(directory)) for directory in stopped.held]
        remove = bool(told) and not kept and (yes or as_json or _confirmed(told))
        if remove:
            verbs.remove(stopped)
    finally:
        lock.release()

    def human(printer: Console) -> None:
        if not stopped.ran:
            _line(printer, "nothing was running")
        else:
            _line(printer, "stopped")
        for directory, size in told:
            verb = "removed" if remove else "kept"
            _line(printer, f"  {verb:13} {directory} ({_PARTS}; {size / _MIB:.1f} MiB)")
        if told and not remove:
            _line(printer, "go on with it: agency up; remove it: agency down")

    names = [str(directory) for directory, _ in told]
    data = {
        "stopped": stopped.ran,
        "removed": names if remove else [],
        "kept": [] if remove else names,
    }
    emit(data, as_json=as_json, human=human)


_PARTS = "rooms and accounts, audit log, logs, generated secrets"


def _confirmed(told: list[tuple[Path, int]]) -> bool:
    """Ask whether the data may be removed; without a terminal, the command is the answer."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    printer = console()
    for directory, size in told:
        _line(printer, f"this removes {directory}: {_PARTS} ({size / _MIB:.1f} MiB)")
    return click.confirm("remove it? (no keeps it)", default=False)


@click.command()
@json_option
def status(as_json: bool) -> int:
    """Say how the local agency is, and why it is not ready; exit status 1 when it is not."""
    return _show(asyncio.run(verbs.observe()), as_json=as_json)


def _show(found: verbs.Status, *, as_json: bool) -> int:
    emit(verbs.as_json(found), as_json=as_json, human=lambda printer: _describe(printer, found))
    return int(ExitCode.DONE if found.ready else ExitCode.BAD)
