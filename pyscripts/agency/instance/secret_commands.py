"""Command group `agency secrets`, with its commands `list`, `doctor` and `generate`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import BadInputError, ExitCode
from agency.instance.check import default_directory
from agency.instance.load import LoadedInstance, load_instance
from agency.instance.needs import required_secrets
from agency.secrets import (
    Diagnosis,
    SecretClass,
    SecretSpec,
    compose_issued,
    default_key_file,
    diagnose,
    generate_missing,
    install_secrets,
    remedy,
    sops,
)

PIPE_WIDTH = 160  # width when the output is not a terminal

directory_argument = click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path)
)


@click.group()
def secrets() -> None:
    """List, examine, generate and install secrets; no value is ever shown."""


secrets.add_command(install_secrets)
secrets.add_command(compose_issued)


def _load(directory: Path | None) -> LoadedInstance:
    return load_instance(directory if directory is not None else default_directory())


def _encrypted_file(loaded: LoadedInstance) -> Path | None:
    """Return the path of the encrypted file; None if every run makes its own secrets."""
    if loaded.instance.secrets.provider == "ephemeral":
        return None
    return loaded.root / sops.SECRETS_FILE


@secrets.command("list")
@directory_argument
@json_option
def list_secrets(directory: Path | None, as_json: bool) -> None:
    """List every secret that the instance in DIR needs, and its state."""
    loaded = _load(directory)
    specs = required_secrets(loaded.instance)
    file = _encrypted_file(loaded)
    stored = frozenset[str]() if file is None else sops.names_in_file(file)
    rows = [
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

    def human(out: Console) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("name", "class", "state", "for"):
            table.add_column(column, no_wrap=True)
        for row in rows:
            cells = (row["name"], row["class"], row["state"], row["description"])
            table.add_row(*(Text(str(cell)) for cell in cells))
        if not out.is_terminal:
            out.width = PIPE_WIDTH
        out.print(table)

    emit(rows, as_json=as_json, human=human)


def _state(spec: SecretSpec, stored: frozenset[str], provider: str) -> str:
    if spec.name in stored:
        return "in the file"
    if spec.cls is SecretClass.B or (provider == "ephemeral" and spec.cls is not SecretClass.A1):
        return "made per run"
    if spec.cls is SecretClass.C:
        return "issued on the machine"
    return "missing (optional)" if spec.optional else "missing"


@secrets.command()
@directory_argument
@click.option("--age-key", type=click.Path(path_type=Path), help="The private key to try.")
@json_option
def doctor(directory: Path | None, age_key: Path | None, as_json: bool) -> None:
    """List the missing, superfluous and unusable secrets of the instance in DIR, with remedies.

    Exit status 1: a secret is missing or unusable; 3: none is, but this machine cannot decrypt.
    """
    loaded = _load(directory)
    specs = required_secrets(loaded.instance)
    key_file = age_key or default_key_file(loaded.instance.name)
    found = diagnose(specs, _encrypted_file(loaded), key_file)
    answer = _diagnosis_json(found, loaded.root)
    emit(answer, as_json=as_json, human=lambda out: _print_diagnosis(out, found, loaded.root))
    if found.bad:
        raise click.exceptions.Exit(int(ExitCode.BAD))
    if found.lacks_key:
        raise click.exceptions.Exit(int(ExitCode.PREREQUISITE))


@secrets.command("generate")
@directory_argument
@click.option("--age-key", type=click.Path(path_type=Path), help="The private key that decrypts.")
@json_option
def generate_secrets(directory: Path | None, age_key: Path | None, as_json: bool) -> None:
    """Generate the internal secrets that the instance in DIR needs and does not have.

    Use it after adding a service or an agent. Present secrets stay unchanged.
    """
    loaded = _load(directory)
    file = _encrypted_file(loaded)
    if file is None:
        raise BadInputError(
            "an instance with the provider ephemeral keeps no secrets: each run makes its own",
            where=str(loaded.path),
            hint="make a real instance by `agency init`",
        )
    made = generate_missing(
        required_secrets(loaded.instance),
        file,
        loaded.instance.secrets.recipients.values(),
        age_key or default_key_file(loaded.instance.name),
    )

    def human(out: Console) -> None:
        out.print(Text(f"generated: {', '.join(made)}" if made else "nothing was missing"))

    emit({"generated": list(made)}, as_json=as_json, human=human)


def _diagnosis_json(found: Diagnosis, root: Path) -> dict[str, object]:
    def to_do(spec: SecretSpec) -> dict[str, str]:
        return {"name": spec.name, "class": spec.cls.value, "remedy": remedy(spec, root)}

    return {
        "ok": not found.bad and not found.lacks_key,
        "provider": found.provider,
        "missing": [to_do(spec) for spec in found.missing],
        "optional": [to_do(spec) for spec in found.optional],
        "superfluous": list(found.superfluous),
        "unusable": list(found.unusable),
        "decrypt": None if found.decrypt_error is None else found.decrypt_error.as_dict(),
    }


def _print_diagnosis(out: Console, found: Diagnosis, root: Path) -> None:
    def say(style: str, text: str) -> None:
        out.print(Text(text, style=style))

    for spec in found.missing:
        say("red", f"missing: {spec.name} ({spec.cls.value}): {spec.description}")
        say("", f"  {remedy(spec, root)}")
    for name in found.unusable:
        say("red", f"unusable: {name}: its value is empty or too short")
        say("", f"  `sops edit {root / sops.SECRETS_FILE}`")
    if found.decrypt_error is not None:
        say("red", f"cannot decrypt: {found.decrypt_error}")
    for name in found.superfluous:
        say("yellow", f"superfluous: {name}: no enabled service or agent reads it")
        say("", f"  `sops unset {root / sops.SECRETS_FILE} '[\"{name}\"]'`")
    for spec in found.optional:
        say("", f"optional: {spec.name}: {spec.description}\n  {remedy(spec, root)}")
    if not found.bad and not found.lacks_key:
        say("green", f"{root}: every required secret is available")
