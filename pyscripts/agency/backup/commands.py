"""`agency backup`: create, list, verify and restore backups of this machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.backup.settings import HOUR_S, SETTINGS_FILE, load_settings
from agency.clock import Clock, iso
from agency.commandline import emit, json_option
from agency.errors import ExitCode, UsageError
from agency.secrets import credentials

if TYPE_CHECKING:
    from rich.console import Console

    from agency.backup.restic import Snapshot
    from agency.backup.restoring.in_place import Restored
    from agency.backup.settings import BackupSettings

_MIB = 1024**2
_config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=SETTINGS_FILE,
    show_default=True,
    help="The settings, which NixOS writes.",
)


@click.group()
def backup() -> None:
    """Back up and restore what is not in git; run it as root."""


@backup.command()
@_config_option
@click.option("--init", "initialise", is_flag=True, help="Make the repository anew if it is gone.")
@json_option
def create(config: Path, initialise: bool, as_json: bool) -> None:
    """Make one snapshot of this machine, while its services run, and remove old ones.

    A repository that was never there is made.
    """
    from agency.backup.create import create_backup

    with credentials(config, os.environ):
        done = create_backup(load_settings(config), Clock(), initialise=initialise)
    summary, manifest = done.summary, done.manifest

    def human(printer: Console) -> None:
        if done.initialised:
            printer.print("there was no repository: made a new one")
        printer.print(
            f"snapshot {summary.snapshot[:8]}: {len(manifest.parts)} parts, {summary.files} files, "
            f"{summary.size // _MIB} MiB read, {summary.added // _MIB} MiB added"
        )
        if done.removed:
            printer.print(f"removed {done.removed} old snapshots")

    answer = {
        "snapshot": summary.snapshot,
        "initialised": done.initialised,
        "files": summary.files,
        "bytes": summary.size,
        "added": summary.added,
        "removed": done.removed,
        "vanished": list(summary.unread),
        "manifest": manifest.model_dump(mode="json"),
    }
    emit(answer, as_json=as_json, human=human)


@backup.command("list")
@_config_option
@json_option
def list_snapshots(config: Path, as_json: bool) -> None:
    """List the agency's snapshots in the repository, oldest first."""
    from agency.backup.opening import open_repository
    from agency.backup.verify import existing

    settings = load_settings(config)
    with credentials(config, os.environ):
        found = existing(settings, open_repository(settings))

    def human(printer: Console) -> None:
        for one in found:
            foreign = "" if one.instance == settings.instance else f"  instance {one.instance}"
            when = iso(one.time)[:19].replace("T", " ")
            printer.print(f"{one.id[:8]}  {when}  {one.host}{foreign}", soft_wrap=True)
        if not found:
            printer.print("no snapshots")

    emit([_facts(one) for one in found], as_json=as_json, human=human)


def _facts(one: Snapshot) -> dict[str, object]:
    return {
        "id": one.id,
        "time": iso(one.time),
        "host": one.host,
        "instance": one.instance,
        "agency": one.version,
        "paths": list(one.paths),
    }


@backup.command()
@_config_option
@click.option(
    "--read-data",
    "percent",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    metavar="PERCENT",
    help="Share of the stored data to read; the newest copies are read whole in any case.",
)
@json_option
def verify(config: Path, percent: int, as_json: bool) -> int:
    """Verify the repository and the newest snapshot; exit 1 if it is damaged or late.

    Its copies must be those that its manifest names, and the audit log in it is verified from its
    first row to the head that the manifest names.
    """
    from agency.backup.verify import verify_backup

    with credentials(config, os.environ):
        found = verify_backup(load_settings(config), Clock(), read_percent=percent)

    def human(printer: Console) -> None:
        age = f"{found.age_s / HOUR_S:.1f} hours old"
        printer.print(f"snapshot {found.snapshot.id[:8]}, {age}")
        for finding in found.findings:
            printer.print(f"BAD: {finding}", soft_wrap=True)
        if found.ok:
            printer.print("nothing is wrong")

    answer = {
        "ok": found.ok,
        "findings": list(found.findings),
        "ageSeconds": found.age_s,
        "readPercent": found.read_percent,
        "snapshot": _facts(found.snapshot),
        "manifest": None if found.manifest is None else found.manifest.model_dump(mode="json"),
    }
    emit(answer, as_json=as_json, human=human)
    return int(ExitCode.DONE if found.ok else ExitCode.BAD)


@backup.command()
@click.argument("snapshot", metavar="SNAPSHOT|latest")
@_config_option
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="DIR", help="Extract it below this directory."
)
@click.option("--in-place", is_flag=True, help="Replace what this machine has; stops its services.")
@click.option("--yes-replace", metavar="HOST", help="The name of this machine, with --in-place.")
@click.option("--from-instance", metavar="NAME", help="Take a snapshot of that instance.")
@json_option
def restore(
    snapshot: str,
    config: Path,
    to: Path | None,
    in_place: bool,
    yes_replace: str | None,
    from_instance: str | None,
    as_json: bool,
) -> None:
    """Restore a snapshot: below a directory, or in place.

    Interrupted, the same command goes on.
    """
    if in_place == (to is not None):
        raise UsageError("give one of --to DIR and --in-place", where="restore")
    if in_place != (yes_replace is not None):
        raise UsageError("--in-place and --yes-replace HOST go together", where="restore")
    settings = load_settings(config)
    with credentials(config, os.environ):
        if to is not None:
            _extract(settings, snapshot, to, from_instance, as_json=as_json)
        else:
            _replace(settings, snapshot, yes_replace or "", from_instance, as_json=as_json)


def _extract(
    settings: BackupSettings, snapshot: str, to: Path, from_instance: str | None, *, as_json: bool
) -> None:
    from agency.backup.restoring.extract import extract_snapshot

    found = extract_snapshot(settings, to.absolute(), which=snapshot, from_instance=from_instance)
    answer = {
        "snapshot": found.source.snapshot.id,
        "directory": str(found.root),
        "copies": str(found.copies),
        "manifest": found.source.manifest.model_dump(mode="json"),
    }

    def human(printer: Console) -> None:
        printer.print(f"extracted to {found.root}; copies are in {found.copies}", soft_wrap=True)

    emit(answer, as_json=as_json, human=human)


def _replace(
    settings: BackupSettings, snapshot: str, host: str, from_instance: str | None, *, as_json: bool
) -> None:
    from agency.backup.restoring.in_place import restore_in_place

    done = asyncio.run(
        restore_in_place(
            settings, Clock(), replace=host, which=snapshot, from_instance=from_instance
        )
    )
    emit(done.model_dump(mode="json"), as_json=as_json, human=lambda out: _told(out, done))


def _told(printer: Console, done: Restored) -> None:
    printer.print(f"restored {done.snapshot[:8]} of {iso(done.created_at)[:19]}")
    for part in done.parts:
        printer.print(f"  {part.kind} {part.name}: {sum(part.after.values())}", soft_wrap=True)
    if done.audit_after is not None:
        count, head = done.audit_after.count, done.audit_after.head
        printer.print(f"the audit log is whole: {count} rows, head {head}", soft_wrap=True)
    if done.started:
        printer.print(f"started {', '.join(reversed(done.started))}", soft_wrap=True)
