"""Parts that the commands share: the instance, its keys, and a plan that is shown and confirmed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from agency.clock import Clock
from agency.commandline import console, emit
from agency.errors import BadInputError, UsageError
from agency.instance.check import default_directory
from agency.instance.load import LoadedInstance, load_instance
from agency.instance.needs import is_of_feature, possible_secrets, required_secrets
from agency.secrets import (
    Change,
    Diagnosis,
    KeySearch,
    SecretSpec,
    diagnose,
    key_places,
    sops,
)

Command = TypeVar("Command", bound=Callable[..., Any])

directory_argument = click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path)
)
instance_option = click.option(
    "--instance",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory of the instance; default: ./instance, the working directory, or one above it.",
)
key_option = click.option(
    "--age-key", type=click.Path(path_type=Path), help="The private key to use, and no other."
)


def plan_options(command: Command) -> Command:
    """Add the options of a command that shows a plan first."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Show the plan and change nothing."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask before the change."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Workplace:
    """An instance with an encrypted file, and the keys that this machine has for it."""

    loaded: LoadedInstance
    file: Path
    keys: KeySearch
    now: datetime

    @property
    def today(self) -> str:
        """The date that a change records."""
        return self.now.date().isoformat()

    def specs(self) -> dict[str, SecretSpec]:
        """Return the secrets that the instance needs or that a host may need, by name."""
        instance = self.loaded.instance
        return {s.name: s for s in (*possible_secrets(instance), *required_secrets(instance))}


def load(directory: Path | None, *, check_recipients: bool = True) -> LoadedInstance:
    """Load the instance in a directory, or the default one."""
    where = directory if directory is not None else default_directory()
    return load_instance(where, check_recipients=check_recipients)


def encrypted_file(loaded: LoadedInstance) -> Path | None:
    """Return the path of the encrypted file; None if every run makes its own secrets."""
    if loaded.instance.secrets.provider == "ephemeral":
        return None
    return loaded.root / sops.SECRETS_FILE


def diagnose_secrets(loaded: LoadedInstance, age_key: Path | None) -> Diagnosis:
    """Diagnose the secrets of an instance with the keys of this machine, or with one key."""
    instance = loaded.instance
    return diagnose(
        required_secrets(instance),
        encrypted_file(loaded),
        key_places(instance.name, age_key),
        now=Clock().utc(),
        possible=possible_secrets(instance),
        is_of_feature=is_of_feature,
    )


def workplace(
    directory: Path | None, age_key: Path | None, *, check_recipients: bool = True
) -> Workplace:
    """Open the instance in a directory for a change.

    Raises:
        BadInputError: it has no encrypted file.
    """
    loaded = load(directory, check_recipients=check_recipients)
    file = encrypted_file(loaded)
    if file is None:
        raise BadInputError(
            "an instance with the provider ephemeral keeps no secrets: each run makes its own",
            where=str(loaded.path),
            hint="make a real instance by `agency init`",
        )
    keys = key_places(loaded.instance.name, age_key)
    return Workplace(loaded, file, keys, Clock().utc())


def print_plan(out: Console, change: Change, notes: Mapping[str, str]) -> None:
    """Print what a change does to the file, and what follows from it."""

    def say(text: str) -> None:
        out.print(Text(text))

    say(f"{change.path}:")
    for title, names in (
        ("new value", change.values),
        ("removed", change.removed),
        ("can decrypt from now on", change.recipients_added),
        ("can no longer decrypt", change.recipients_removed),
    ):
        if names:
            say(f"  {title}: {', '.join(names)}")
    if change.new_data_key:
        say(f"  new data key: all {len(change.encrypted_anew)} values are encrypted anew")
    elif change.encrypted_anew:
        say(f"  encrypted anew: {', '.join(change.encrypted_anew)}; all other lines stay")
    if change.restarts:
        say(f"  restart at the next switch: {', '.join(change.restarts)}")
    for name, note in notes.items():
        say(f"  {name}: {note}")


def _confirm(show: Callable[[Console], None], *, yes: bool, as_json: bool) -> None:
    if not as_json:
        show(console())
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise UsageError(
            "this changes the instance, and nobody can be asked here",
            where="--yes",
            hint="give --yes to do it, or --dry-run to see the plan alone",
        )
    click.confirm("Do it?", abort=True)


def carry_out(
    show: Callable[[Console], None],
    write: Callable[[], None],
    answer: Mapping[str, object],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show a plan, ask, write, and report; with `dry_run`, show it alone.

    Raises:
        UsageError: nobody can be asked, and --yes was not given.
        click.Abort: the answer is no.
    """
    if not dry_run:
        _confirm(show, yes=yes, as_json=as_json)
        write()
    done = Text("written; commit, then switch the hosts")
    emit(
        {"written": not dry_run, **answer},
        as_json=as_json,
        human=lambda out: show(out) if dry_run else out.print(done),
    )
