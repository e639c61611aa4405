"""Commands `agency secrets generate`, `set`, `edit` and `rotate`: they change values."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import AgencyError, BadInputError, PrerequisiteError, UsageError
from agency.instance.needs import is_of_feature, required_secrets
from agency.instance.secret_commands.common import (
    Workplace,
    carry_out,
    directory_argument,
    instance_option,
    key_option,
    plan_options,
    print_plan,
    workplace,
)
from agency.secrets import (
    Change,
    Fault,
    SecretSpec,
    SecretValue,
    edit_by_hand,
    faults,
    is_one_line,
    keep_aside,
    plan_edited,
    plan_missing,
    plan_rotation,
    plan_values,
    read_bytes,
    tidy,
    unknown_secret,
)

MAX_VALUE_BYTES = 1024 * 1024


@click.command("generate")
@directory_argument
@key_option
@click.option("--dry-run", is_flag=True, help="Name what would be generated; change nothing.")
@json_option
def generate_secrets(
    directory: Path | None, age_key: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Generate the internal secrets that the instance in DIR needs and does not have.

    Use it after adding a service or an agent. Present secrets stay unchanged, and so do their
    lines in the file.
    """
    at = workplace(directory, age_key)
    change = plan_missing(required_secrets(at.loaded.instance), at.file, at.keys, today=at.today)
    if change is not None and not dry_run:
        change.write()
    made = [] if change is None else list(change.values)
    verb = "missing" if dry_run else "generated"
    told = f"{verb}: {', '.join(made)}" if made else "nothing was missing"
    emit(
        {"generated": made, "written": bool(made) and not dry_run},
        as_json=as_json,
        human=lambda out: out.print(Text(told)),
    )


@click.command("set")
@click.argument("name")
@click.option(
    "--file",
    "source",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File with the value; - is standard input. Without it, a terminal is asked.",
)
@instance_option
@key_option
@plan_options
@json_option
def set_secret(
    name: str,
    source: Path | None,
    directory: Path | None,
    age_key: Path | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put in the value of the secret NAME, from a file, standard input or a hidden question.

    The value is checked against the form that its readers need. A line break at the end of a
    one-line value is left out.
    """
    at = workplace(directory, age_key)
    specs = at.specs()
    spec = _spec(specs, name)
    form = spec.form if spec is not None else "text"
    value = SecretValue(tidy(form, _read_value(name, form, source)))
    _refuse_faults(specs, {name: value}, at)
    change = plan_values(at.file, at.keys, {name: value}, specs.values(), today=at.today)
    _carry_out(change, specs, yes=yes, dry_run=dry_run, as_json=as_json)


def _spec(specs: Mapping[str, SecretSpec], name: str) -> SecretSpec | None:
    """Return the specification of a secret; None for one of a feature of an unlisted agent.

    Raises:
        BadInputError: the instance has no use for a secret of that name.
    """
    spec = specs.get(name)
    if spec is None and not is_of_feature(name):
        raise unknown_secret(name)
    if spec is not None and not spec.stored:
        raise BadInputError(
            f"{name} is not kept in the file: {spec.how}", hint="there is nothing to set"
        )
    return spec


def _read_value(name: str, form: str, source: Path | None) -> str:
    if source is None and sys.stdin.isatty():
        if not is_one_line(form):
            raise UsageError(
                f"{name} has several lines", where="--file", hint="give it in a file: --file FILE"
            )
        return str(click.prompt(name, hide_input=True, confirmation_prompt=True, err=True))
    try:
        if source is None or str(source) == "-":
            data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
        else:
            with source.open("rb") as handle:
                data = handle.read(MAX_VALUE_BYTES + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be read: {error.strerror or error}", where=str(source), hint="name a file"
        ) from error
    if len(data) > MAX_VALUE_BYTES:
        raise BadInputError(f"is larger than {MAX_VALUE_BYTES} bytes", where=str(source))
    try:
        return data.decode()
    except UnicodeDecodeError:
        # Without the cause: its message would quote bytes of the value.
        raise BadInputError(f"the value of {name} is not UTF-8 text") from None


def _refuse_faults(
    specs: dict[str, SecretSpec], values: dict[str, SecretValue], at: Workplace
) -> None:
    found = [fault for fault in faults(specs, values, at.now) if fault.fatal]
    if found:
        raise BadInputError(_told(found), hint="nothing was written; give a value of that form")


def _told(found: list[Fault]) -> str:
    return "; ".join(f"{fault.name}: {fault.message}" for fault in found)


def _carry_out(
    change: Change, specs: Mapping[str, SecretSpec], *, yes: bool, dry_run: bool, as_json: bool
) -> None:
    notes = _notes(change, specs)
    carry_out(
        lambda out: print_plan(out, change, notes),
        change.write,
        {**change.as_dict(), "notes": notes},
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
    )


def _notes(change: Change, specs: Mapping[str, SecretSpec]) -> dict[str, str]:
    """Return what else a new value asks for and costs, by the name of its secret."""
    found = {}
    for name in change.values:
        spec = specs.get(name)
        told = "; ".join(part for part in (spec.note, spec.costs) if part) if spec else ""
        if told and told != "nothing":
            found[name] = told
    return found


@click.command("edit")
@directory_argument
@key_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask before the change.")
@json_option
def edit_secrets(directory: Path | None, age_key: Path | None, yes: bool, as_json: bool) -> None:
    """Edit the secrets of the instance in DIR as YAML, in $EDITOR; then check and write them.

    It finds sops and the key by itself. What was edited is kept beside the file, encrypted, if it
    cannot be written.
    """
    at = workplace(directory, age_key)
    specs = at.specs()
    before = read_bytes(at.file)
    edited = edit_by_hand(at.file, before, at.keys)
    if edited == before:
        emit({"written": False}, as_json=as_json, human=lambda out: out.print("nothing changed"))
        return
    try:
        change, values = plan_edited(
            at.file, at.keys, before, edited, specs.values(), today=at.today
        )
        new = {name: values[name] for name in change.values}
        _refuse_faults(specs, new, at)
        _carry_out(change, specs, yes=yes, dry_run=False, as_json=as_json)
    except (AgencyError, click.Abort) as error:
        aside = keep_aside(at.file, edited)
        note = f"what was edited is in {aside}, encrypted"
        if isinstance(error, AgencyError):
            error.hint = f"{error.hint}; {note}" if error.hint else note
        else:
            click.echo(note, err=True)
        raise


@click.command("rotate")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@instance_option
@key_option
@plan_options
@json_option
def rotate_secrets(
    names: tuple[str, ...],
    directory: Path | None,
    age_key: Path | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Generate new values for the secrets NAME..., and name the units that restart.

    Exit status 1: one of them is not made by a generator; the error says where it is issued, or
    what its rotation takes. Nothing is changed then.
    """
    at = workplace(directory, age_key)
    specs = at.specs()
    unknown = [name for name in names if name not in specs]
    if unknown:
        raise unknown_secret(unknown[0])
    wanted = [specs[name] for name in dict.fromkeys(names)]
    change = plan_rotation(wanted, at.file, at.keys, today=at.today)
    _carry_out(change, specs, yes=yes, dry_run=dry_run, as_json=as_json)
