"""Commands `agency secrets list` and `doctor`: they change nothing."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import ExitCode
from agency.instance.needs import possible_secrets, required_secrets
from agency.instance.secret_commands.common import (
    diagnose_secrets,
    directory_argument,
    encrypted_file,
    key_option,
    load,
)
from agency.secrets import (
    Diagnosis,
    SecretClass,
    SecretSpec,
    how_to_rotate,
    remedy,
    set_command,
    sops,
)

PIPE_WIDTH = 160  # width when the output is not a terminal
_GAP = 2
LEAST_TEXT = 24  # a narrower description is left out


@click.command("list")
@directory_argument
@json_option
def list_secrets(directory: Path | None, as_json: bool) -> None:
    """List every secret that the instance in DIR needs, and its state.

    Secrets of features that only a host declares are listed if they are in the file.
    """
    loaded = load(directory)
    file = encrypted_file(loaded)
    stored = frozenset[str]() if file is None else sops.names_in_file(file)
    given = [spec for spec in possible_secrets(loaded.instance) if spec.name in stored]
    specs = sorted([*required_secrets(loaded.instance), *given], key=lambda spec: spec.name)
    rows: list[dict[str, object]] = [
        {
            "name": spec.name,
            "class": spec.cls.value,
            "state": _state(spec, stored, loaded.instance.secrets.provider),
            "description": spec.description,
            "owner": spec.owner,
            "mode": spec.mode,
            "consumers": list(spec.consumers),
            "optional": spec.optional,
        }
        for spec in specs
    ]
    emit(rows, as_json=as_json, human=lambda out: _print_list(out, rows))


def _print_list(out: Console, rows: list[dict[str, object]]) -> None:
    """Print the table; on a narrow terminal it is the description that gives way."""
    from rich.table import Table

    if not out.is_terminal:
        out.width = PIPE_WIDTH
    columns = ("class", "state", "name", "description")
    natural = {
        name: max(len(name), *(len(str(row[name])) for row in rows)) if rows else len(name)
        for name in columns
    }
    left = out.width - natural["class"] - natural["state"] - 2 * _GAP
    # A name that has no room is folded: it is never cut.
    widths = {**natural, "name": min(natural["name"], left)}
    rest = left - widths["name"] - _GAP
    widths["description"] = min(natural["description"], rest) if rest >= LEAST_TEXT else 0
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    shown = [name for name in columns if widths[name]]
    for name in shown:
        table.add_column(
            name,
            width=widths[name],
            no_wrap=name != "name",
            overflow="fold" if name == "name" else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(str(row[name])) for name in shown))
    out.print(table)


def _state(spec: SecretSpec, stored: frozenset[str], provider: str) -> str:
    if spec.name in stored:
        return "in the file"
    if spec.cls is SecretClass.B or (provider == "ephemeral" and spec.cls is not SecretClass.A1):
        return "made per run"
    if spec.cls is SecretClass.C:
        return "issued on the machine"
    return "missing (optional)" if spec.optional else "missing"


@click.command()
@directory_argument
@key_option
@json_option
def doctor(directory: Path | None, age_key: Path | None, as_json: bool) -> None:
    """List the missing, unusable, overdue and superfluous secrets of the instance in DIR.

    It names the remedy of each. Exit status 1: a secret is missing or unusable, or a former
    recipient can read later values; 3: none of that, but this machine cannot decrypt.
    """
    loaded = load(directory)
    found = diagnose_secrets(loaded, age_key)
    answer = _diagnosis_json(found, loaded.root)
    emit(answer, as_json=as_json, human=lambda out: _print_diagnosis(out, found, loaded.root))
    if found.bad:
        raise click.exceptions.Exit(int(ExitCode.BAD))
    if found.lacks_key:
        raise click.exceptions.Exit(int(ExitCode.PREREQUISITE))


def _diagnosis_json(found: Diagnosis, root: Path) -> dict[str, object]:
    def to_do(spec: SecretSpec) -> dict[str, str]:
        return {"name": spec.name, "class": spec.cls.value, "remedy": remedy(spec, root)}

    return {
        "ok": not found.bad and not found.lacks_key,
        "provider": found.provider,
        "missing": [to_do(spec) for spec in found.missing],
        "optional": [to_do(spec) for spec in found.optional],
        "ofFeatures": [{**to_do(spec), "feature": spec.feature} for spec in found.of_features],
        "superfluous": list(found.superfluous),
        "unusable": list(found.unusable),
        "faults": [
            {"name": one.name, "message": one.message, "fatal": one.fatal} for one in found.faults
        ],
        "overdue": [
            {
                "name": one.spec.name,
                "changed": one.changed.isoformat(),
                "days": one.days,
                "remedy": how_to_rotate(one.spec, str(root)),
            }
            for one in found.overdue
        ],
        "formerRecipients": list(found.former),
        "historyRead": found.history_told,
        "warnings": list(found.warnings),
        "decrypt": None if found.decrypt_error is None else found.decrypt_error.as_dict(),
    }


def _print_diagnosis(out: Console, found: Diagnosis, root: Path) -> None:
    def say(style: str, text: str) -> None:
        out.print(Text(text, style=style))

    if found.decrypt_error is not None:
        say("red", f"cannot decrypt: {found.decrypt_error}")
    for key in found.former:
        say("red", f"former recipient: {key} still knows the data key: it can read later values")
        say("", f"  `agency secrets rekey {root}`, then rotate what it could read")
    for spec in found.missing:
        say("red", f"missing: {spec.name} ({spec.cls.value}): {spec.description}")
        say("", f"  {remedy(spec, root)}")
    for fault in found.faults:
        title = "unusable" if fault.fatal else "note"
        say("red" if fault.fatal else "yellow", f"{title}: {fault.name}: {fault.message}")
        say("", f"  `{set_command(fault.name, root)}`")
    for one in found.overdue:
        since = f"last changed {one.changed}, and due every {one.days} days"
        say("yellow", f"overdue: {one.spec.name}: {since}")
        say("", f"  {how_to_rotate(one.spec, str(root))}")
    for name in found.superfluous:
        say("yellow", f"superfluous: {name}: no enabled service or agent reads it")
        say("", f"  delete its line with `agency secrets edit {root}`")
    for warning in found.warnings:
        say("yellow", f"note: {warning}")
    _print_optional(out, found, root)
    if not found.bad and not found.lacks_key:
        say("green", f"{root}: every required secret is available")


def _print_optional(out: Console, found: Diagnosis, root: Path) -> None:
    for spec in found.optional:
        out.print(Text(f"optional: {spec.name}: {spec.description}\n  {remedy(spec, root)}"))
    features = sorted({spec.feature for spec in found.of_features})
    if features:
        out.print(
            Text(
                f"only if a host turns on a feature of an agent ({', '.join(features)}): "
                f"`agency secrets doctor --json {root}` lists their secrets under ofFeatures"
            )
        )
