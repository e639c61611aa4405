"""Commands `agency secrets rekey` and `recipients`: who can decrypt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import AgencyError, BadInputError, UsageError
from agency.files import rewrite
from agency.instance.editing.rewriting import InstanceEdit, plan_recipients
from agency.instance.fields.values import AgeRecipient, Name
from agency.instance.secret_commands.common import (
    Workplace,
    carry_out,
    directory_argument,
    instance_option,
    key_option,
    load,
    plan_options,
    print_plan,
    workplace,
)
from agency.secrets import Change, plan_rekey, read_document, sops

_REMAINS = "what it could read until now, it knows: rotate those secrets"


@dataclass(frozen=True, slots=True)
class Rekeying:
    """A planned change of recipients: of the encrypted file, instance.yaml and generated/."""

    change: Change
    edit: InstanceEdit

    def write(self) -> None:
        """Write all three; a failure of a later one takes the earlier ones back."""
        self.change.write()
        try:
            self.edit.write()
        except AgencyError:
            rewrite(self.change.path, self.change.before)
            raise


def _carry_out(
    plan: Rekeying, *, notes: Mapping[str, str], yes: bool, dry_run: bool, as_json: bool
) -> None:
    def show(out: Console) -> None:
        for line in plan.edit.difference():
            out.print(Text(f"{plan.edit.loaded.path}: {line}"))
        print_plan(out, plan.change, notes)

    answer = {
        **plan.change.as_dict(),
        "instance": plan.edit.difference(),
        "notes": dict(notes),
    }
    carry_out(show, plan.write, answer, yes=yes, dry_run=dry_run, as_json=as_json)


def _plan(
    at: Workplace, wanted: Mapping[str, str], *, new_data_key: bool, ignore_mac: bool = False
) -> Rekeying:
    edit = plan_recipients(at.loaded, dict(wanted))
    change = plan_rekey(
        at.file, at.keys, wanted.values(), new_data_key=new_data_key, ignore_mac=ignore_mac
    )
    return Rekeying(change, edit)


def _notes(at: Workplace, plan: Rekeying, wanted: Mapping[str, str]) -> dict[str, str]:
    notes = dict.fromkeys(plan.change.recipients_removed, _REMAINS)
    if not at.keys.own() & set(wanted.values()):
        notes["this machine"] = "cannot decrypt afterwards: none of its keys is a recipient"
    return notes


@click.command()
@directory_argument
@key_option
@click.option(
    "--ignore-mac",
    is_flag=True,
    help="Accept the content as it is, although something but sops changed it.",
)
@plan_options
@json_option
def rekey(
    directory: Path | None,
    age_key: Path | None,
    ignore_mac: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Encrypt the secrets of the instance in DIR with a new data key, for its present recipients.

    Only that locks out a former recipient: the old data key is in the history of the file. The
    values stay, so rotate those that a former recipient could read.
    """
    at = workplace(directory, age_key, check_recipients=False)
    wanted = at.loaded.instance.secrets.recipients
    plan = _plan(at, wanted, new_data_key=True, ignore_mac=ignore_mac)
    _carry_out(plan, notes=_notes(at, plan, wanted), yes=yes, dry_run=dry_run, as_json=as_json)


@click.group()
def recipients() -> None:
    """List, add and remove those who can decrypt."""


@recipients.command("list")
@directory_argument
@json_option
def list_recipients(directory: Path | None, as_json: bool) -> None:
    """List the recipients of the instance in DIR, and whether the file is encrypted for them."""
    loaded = load(directory, check_recipients=False)
    listed = loaded.instance.secrets.recipients
    file = loaded.root / sops.SECRETS_FILE
    present = read_document(file).recipients() if file.exists() else frozenset()
    owners = {key: owner for owner, key in listed.items()}
    rows = [
        {"owner": owners.get(key), "key": key, "listed": key in owners, "decrypts": key in present}
        for key in (*listed.values(), *sorted(present - set(owners)))
    ]

    def human(out: Console) -> None:
        for row in rows:
            state = "" if row["listed"] and row["decrypts"] else "  (`agency secrets rekey`)"
            out.print(Text(f"{row['owner'] or 'not in instance.yaml'}  {row['key']}{state}"))

    emit(rows, as_json=as_json, human=human)


@recipients.command("add")
@click.argument("owner")
@click.argument("key", metavar="AGE1...")
@instance_option
@key_option
@plan_options
@json_option
def add_recipient(
    owner: str,
    key: str,
    directory: Path | None,
    age_key: Path | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let OWNER decrypt, with the public key AGE1...: in instance.yaml and the encrypted file."""
    _valid("OWNER", TypeAdapter(Name), owner)
    _valid("AGE1...", TypeAdapter(AgeRecipient), key)
    at = workplace(directory, age_key)
    listed = at.loaded.instance.secrets.recipients
    if owner in listed or key in listed.values():
        taken = owner if owner in listed else key
        raise BadInputError(f"{taken} is a recipient already", where=str(at.loaded.path))
    wanted = {**listed, owner: key}
    plan = _plan(at, wanted, new_data_key=False)
    _carry_out(plan, notes=_notes(at, plan, wanted), yes=yes, dry_run=dry_run, as_json=as_json)


@recipients.command("remove")
@click.argument("owner")
@instance_option
@key_option
@plan_options
@json_option
def remove_recipient(
    owner: str,
    directory: Path | None,
    age_key: Path | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take OWNER's key away: from instance.yaml and the encrypted file, with a new data key."""
    at = workplace(directory, age_key)
    listed = at.loaded.instance.secrets.recipients
    if owner not in listed:
        raise BadInputError(
            f"{owner} is no recipient",
            where=str(at.loaded.path),
            hint=f"the recipients are {', '.join(listed)}",
        )
    wanted = {name: key for name, key in listed.items() if name != owner}
    if not wanted:
        raise BadInputError(
            f"{owner} is the last recipient: nobody could decrypt",
            where=str(at.loaded.path),
            hint="add another one first: `agency secrets recipients add OWNER AGE1...`",
        )
    plan = _plan(at, wanted, new_data_key=True)
    _carry_out(plan, notes=_notes(at, plan, wanted), yes=yes, dry_run=dry_run, as_json=as_json)


def _valid(what: str, adapter: TypeAdapter[str], text: str) -> None:
    try:
        adapter.validate_python(text, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise UsageError(reason.removeprefix("Value error, "), where=what) from None
