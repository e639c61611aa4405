"""Preparation of a trial: what options name becomes policy, script, model and secrets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from agency.agent.keys import STDIN, read_key
from agency.agent.models.client import WireFormat
from agency.agent.scripted.script import Script, load_script, script_names
from agency.agent.trying.plan import RealModel, check_model, variables
from agency.agent.trying.workspace import make_workspace, wants_repository
from agency.errors import UsageError
from agency.gosuto import Document, load_template, read_document
from agency.secrets import SecretValue
from agency.settings import read_bounded

_HELLO = "hello"
_MAX_DOCUMENT = 48 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """Order of a person for a trial."""

    template: str
    agent: str
    given: dict[str, str]
    script: str | None
    repository: Path | None


def policy_of(wanted: Wanted, place: Path, *, ask: bool) -> tuple[Document, Script]:
    """Make the document with what its tools need, and choose the script.

    Raises:
        AgencyError: there is no such template or file, or it lacks a value.
    """
    template = wanted.template
    if _is_file(template):
        return _of_file(wanted)
    form = load_template(template)
    usual = template if template in script_names() else _HELLO
    script = load_script(wanted.script or usual)
    found = dict(script.variables)
    if wants_repository(form):
        found |= make_workspace(place, wanted.agent, wanted.repository)
    elif wanted.repository is not None:
        raise UsageError(f"{template} works in no repository")

    def asked(name: str, summary: str) -> str:
        return str(click.prompt(f"{name}: {summary}"))

    values = variables(form, wanted.given, found, asked if ask else None)
    return form.fill(wanted.agent, values), script


def _of_file(wanted: Wanted) -> tuple[Document, Script]:
    if wanted.given or wanted.repository is not None:
        raise UsageError("--var and --repository are for templates, and this is a file")
    content = read_bounded(Path(wanted.template), most=_MAX_DOCUMENT, what="the Gosuto")
    document = read_document(wanted.template, content)
    made_from = document.metadata.template or ""
    usual = made_from if made_from in script_names() else _HELLO
    return document, load_script(wanted.script or usual)


def _is_file(named: str) -> bool:
    return "/" in named or named.endswith((".yaml", ".yml", ".json"))


def real_model(
    name: str | None, url: str | None, kind: WireFormat, key_file: Path | None
) -> RealModel | None:
    """Return the model that options name, None for the script; a key may be asked for here.

    Raises:
        AgencyError: they do not fit together, or the key cannot be read.
    """
    if name is None or url is None:
        if name or url or key_file:
            raise UsageError("--model and --model-url belong together", hint="give both")
        return None
    key = None
    if key_file == STDIN and sys.stdin.isatty():
        key = SecretValue(str(click.prompt("key of the model", hide_input=True, err=True)).strip())
    elif key_file is not None:
        key = read_key(key_file)
    real = RealModel(name, url, kind, key)
    check_model(real)
    return real


def secrets_of(files: Sequence[str]) -> dict[str, SecretValue]:
    """Read secrets, each given as NAME=FILE."""
    named = pairs(files, "--secret-file")
    return {name: read_key(Path(file), f"the secret {name}") for name, file in named.items()}


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Read what an option was given, each NAME=VALUE.

    Raises:
        UsageError: one is none, or a name is there twice.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or name in found:
            raise UsageError(f"{option} {each[:60]!r} is no NAME=VALUE, or is there twice")
        found[name] = value
    return found
