"""Commands `agency init`, `check`, `render` and `schema`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import BadInputError, ExitCode, PrerequisiteError
from agency.instance.check import advise, default_directory, examine
from agency.instance.load import load_instance
from agency.instance.making.ask import SERVICES, collect_options
from agency.instance.making.create import Created, InstanceOptions, create_instance
from agency.instance.reading.dependencies import left_to_host
from agency.instance.reading.schema import instance_schema
from agency.instance.render import check_rendered, write_rendered
from agency.secrets import SecretSpec, key_places, new_key_file, remedy, sops
from agency.unwritten import FEATURES

directory_argument = click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path)
)


def _one_of(
    names: Iterable[str],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Complete an option by the names that it takes."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the instance; the directory's name if not given.")
@click.option("--domain", help="Matrix server name, such as agency.example.org.")
@click.option("--operator", "operators", multiple=True, help="Full Matrix id; may be repeated.")
@click.option(
    "--approver",
    "approvers",
    multiple=True,
    metavar="MATRIX_ID",
    help="Who approves what others ask for, besides the operators; may be repeated.",
)
@click.option(
    "--solo-delay",
    type=click.IntRange(0, 86400),
    metavar="SECONDS",
    help="The only operator approves what they asked for themselves, after so many seconds.",
)
@click.option(
    "--agent",
    "agents",
    multiple=True,
    metavar="NAME=ROLE",
    help="Agent and its role; may be repeated; default: pm=pm and developer=developer.",
)
@click.option(
    "--enable",
    "services",
    multiple=True,
    metavar="SERVICE",
    shell_complete=_one_of(SERVICES),
    help="Service to run besides matrix; may be repeated.",
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="NAME=AGE1...",
    help="Another public key that can decrypt, such as a host's; may be repeated.",
)
@click.option(
    "--preview",
    multiple=True,
    metavar="FEATURE",
    shell_complete=_one_of(FEATURES),
    help="Feature to set up although its program is not written yet; may be repeated.",
)
@click.option(
    "--federation",
    is_flag=True,
    help="Talk to other homeservers; operators may have their accounts there.",
)
@click.option(
    "--age-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the private key; default: below the user's state directory.",
)
@json_option
def init(
    directory: Path,
    name: str | None,
    domain: str | None,
    operators: tuple[str, ...],
    approvers: tuple[str, ...],
    solo_delay: int | None,
    agents: tuple[str, ...],
    services: tuple[str, ...],
    recipients: tuple[str, ...],
    preview: tuple[str, ...],
    federation: bool,
    age_key: Path | None,
    as_json: bool,
) -> None:
    """Make a new instance in DIR, with an age key and every internal secret.

    DIR may exist, also as a fresh clone: it is filled in place. On a terminal it asks for values
    that no flag gives. Services that a chosen one needs are turned on too. It overwrites nothing,
    and makes the whole instance or nothing.
    """
    options = collect_options(
        directory,
        name=name,
        domain=domain,
        operators=operators,
        agents=agents,
        services=services,
        recipients=recipients,
        preview=preview,
        federation=federation,
        approvers=approvers,
        solo_delay=solo_delay,
        ask=sys.stdin.isatty() and not as_json,
    )
    if not as_json:
        _tell_choices(options)
    created = create_instance(directory, options, age_key or new_key_file(options.name))
    document = _created_json(created, options)
    emit(document, as_json=as_json, human=lambda out: _print_created(out, created))


_NOBODY = (
    "nobody can approve what needs an approval, such as the end of an agent: name --approver, or "
    "--solo-delay for an agency of one person"
)


def _tell_choices(options: InstanceOptions) -> None:
    for one in options.added:
        click.echo(f"{one.needs} is on too: {one.service} needs it, as {one.why}", err=True)
    if options.nobody_approves:
        click.echo(_NOBODY, err=True)
    for told in left_to_host(options.services):
        click.echo(told, err=True)


def _created_json(created: Created, options: InstanceOptions) -> dict[str, object]:
    return {
        "servicesAdded": [one._asdict() for one in options.added],
        "leftToHost": list(left_to_host(options.services)),
        "instance": str(created.root),
        "ageKeyFile": str(created.age_key_file),
        "recipient": created.recipient,
        "secretsGenerated": list(created.generated),
        "secretsMissing": [_to_bring(spec, created.root) for spec in created.missing],
        "secretsOptional": [_to_bring(spec, created.root) for spec in created.optional],
    }


def _to_bring(spec: SecretSpec, root: Path) -> dict[str, str]:
    return {
        "name": spec.name,
        "class": spec.cls.value,
        "description": spec.description,
        "remedy": remedy(spec, root),
    }


def _print_created(out: Console, created: Created) -> None:
    def say(text: str) -> None:
        out.print(Text(text))

    say(f"made {created.root} with {len(created.generated)} generated secrets")
    say(f"age key: {created.age_key_file}")
    say("  It is the one secret that is not in git: keep a copy in a safe place.")
    for title, specs in (("still missing", created.missing), ("optional", created.optional)):
        if specs:
            say(f"{title}:")
        for spec in specs:
            say(f"  {spec.name}: {spec.description}\n    {remedy(spec, created.root)}")
    say(f"next: `agency check {created.root}`")


@click.command()
@directory_argument
@click.option("--decrypt", is_flag=True, help="Also try to decrypt on this machine.")
@click.option("--age-key", type=click.Path(path_type=Path), help="The private key to try.")
@json_option
def check(directory: Path | None, decrypt: bool, age_key: Path | None, as_json: bool) -> None:
    """Check the instance in DIR and list every problem.

    Checks instance.yaml, the recipients, generated/ and the names of the encrypted secrets, without
    a key. DIR is ./instance or the working directory, else one above. A warning is about what
    is allowed and unwise. Exit status 1: there are problems; 3: this machine cannot decrypt
    (--decrypt).
    """
    where = directory if directory is not None else default_directory()
    problems, warnings = examine(where), advise(where)

    def human(out: Console) -> None:
        for problem in problems:
            out.print(Text(str(problem)))
        if not problems:
            out.print(Text(f"{where}: nothing is wrong"))
        for warning in warnings:
            out.print(Text(f"warning: {warning}"))

    answer = {
        "ok": not problems,
        "problems": [asdict(problem) for problem in problems],
        "warnings": [asdict(warning) for warning in warnings],
    }
    if decrypt and not problems:
        _try_to_decrypt(where, age_key)
        answer["decrypted"] = True
    emit(answer, as_json=as_json, human=human)
    if problems:
        raise click.exceptions.Exit(int(ExitCode.BAD))


def _try_to_decrypt(directory: Path, age_key: Path | None) -> None:
    loaded = load_instance(directory)
    if loaded.instance.secrets.provider != "sops":
        raise PrerequisiteError(
            "an instance with the provider ephemeral has nothing to decrypt",
            where=str(loaded.path),
            hint="leave out --decrypt",
        )
    sops.decrypt(loaded.root / sops.SECRETS_FILE, key_places(loaded.instance.name, age_key))


@click.command()
@directory_argument
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; exit 1 if something is stale."
)
@json_option
def render(directory: Path | None, only_check: bool, as_json: bool) -> None:
    """Write generated/ of the instance in DIR: all of it in one step, or nothing.

    DIR is ./instance or the working directory, else one above.
    """
    where = directory if directory is not None else default_directory()
    loaded = load_instance(where, check_recipients=False)
    if not only_check:
        files = sorted(write_rendered(loaded))
        emit(
            {"directory": str(loaded.generated), "files": files},
            as_json=as_json,
            human=lambda out: out.print(Text(f"wrote {len(files)} files to {loaded.generated}")),
        )
        return
    differences = check_rendered(loaded)
    if differences and not as_json:
        listed = "; ".join(str(difference) for difference in differences)
        raise BadInputError(
            f"not what instance.yaml renders to: {listed}",
            where=str(loaded.generated),
            hint="run `agency render` and commit what it writes",
        )
    emit(
        {"ok": not differences, "differences": [asdict(found) for found in differences]},
        as_json=as_json,
        human=lambda out: out.print(Text(f"{loaded.generated}: up to date")),
    )
    if differences:
        raise click.exceptions.Exit(int(ExitCode.BAD))


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Accepted for uniformity: output is always JSON."
)
def schema(as_json: bool) -> None:  # noqa: ARG001 - the output has one form
    """Print the JSON Schema of instance.yaml, for editors."""
    click.echo(json.dumps(instance_schema(), indent=2, ensure_ascii=False))
