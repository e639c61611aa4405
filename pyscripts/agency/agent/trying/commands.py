"""Command `agency agent try`: an agent in a terminal, before it is anybody's."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agency.agent.scripted.script import Script, load_script, script_names
from agency.agent.trying.plan import TOKENS_PER_DAY, RealModel, check_model, variables
from agency.agent.trying.workspace import make_workspace, wants_repository
from agency.commandline import console, emit, json_option
from agency.errors import ExitCode, UsageError
from agency.gosuto import Document, load_template, read_document
from agency.settings import read_bounded

if TYPE_CHECKING:
    from agency.agent.trying.terminal import Terminal

_HELLO = "hello"
_MAX_DOCUMENT = 48 * 1024
_MAX_TASK = 256 * 1024


@click.command("try")
@click.argument("template")
@click.option("--name", "agent", default="trial", show_default=True, help="The agent's name.")
@click.option("--var", "given", multiple=True, metavar="NAME=VALUE", help="Of the template.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    help="A task; may be given several times. Without: typed, or one on standard input.",
)
@click.option("--script", "script_name", help="Another script of the scripted model.")
@click.option("--model", help="A real model in place of the script, by its provider's name.")
@click.option("--model-url", help="Its provider's address, without /v1.")
@click.option(
    "--model-kind",
    type=click.Choice(["openai", "anthropic"]),
    default="openai",
    show_default=True,
    help="What the provider speaks.",
)
@click.option(
    "--model-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the provider's key; - asks for it, or reads standard input.",
)
@click.option(
    "--secret-file",
    "secret_files",
    multiple=True,
    metavar="NAME=FILE",
    help="A secret of the Gosuto, from a file.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Coding tools work in a clone of it.  [default: an example]",
)
@click.option(
    "--tokens",
    type=click.IntRange(1, 10_000_000_000),
    default=TOKENS_PER_DAY,
    show_default=True,
    help="Tokens that the trial may use.",
)
@json_option
def try_command(
    template: str,
    agent: str,
    given: tuple[str, ...],
    tasks: tuple[str, ...],
    script_name: str | None,
    model: str | None,
    model_url: str | None,
    model_kind: Any,
    model_key_file: Path | None,
    secret_files: tuple[str, ...],
    repository: Path | None,
    tokens: int,
    as_json: bool,
) -> int:
    """Try an agent of TEMPLATE, or of a Gosuto file, here in the terminal.

    Gateway, MCP servers, proxy and policy are real; the terminal is its rooms and people. The model
    is a script unless --model names one. What the policy asks for is asked here; without a terminal
    it is denied. Exits with 1 if a task has no answer. Nothing is kept.
    """
    from agency.agent.trying.stage import Cast  # slow to import: only for a trial
    from agency.agent.trying.trial import Trial
    from agency.clock import Clock

    logging.getLogger().addHandler(logging.NullHandler())  # the terminal tells what happens
    key_from_stdin = model_key_file == Path("-")
    real = _real_model(model, model_url, model_kind, model_key_file)
    terminal = _terminal(as_json=as_json)
    typed = _typed(terminal, tasks, key_from_stdin=key_from_stdin)
    secrets = _secrets(secret_files)
    # So that `agency` and its Python are found, also where nothing is activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="agency-try-") as name:
        place = Path(name)
        wanted = Wanted(template, agent, _pairs(given, "--var"), script_name, repository)
        document, script = _policy(wanted, place, ask=terminal.lines is not None)
        cast = Cast(document, script, real, secrets, tokens)
        trial = Trial(cast, terminal, Clock())
        asyncio.run(_until_signal(trial.run(place, typed)))
    emit(trial.report(), as_json=as_json, human=lambda _: terminal.show(trial.summary(), "dim"))
    return int(ExitCode.DONE if trial.ok else ExitCode.BAD)


async def _until_signal(work: Any) -> None:
    """Run; a SIGTERM or the end of the terminal counts as Ctrl-C, so that everything is ended.

    Raises:
        KeyboardInterrupt: it was ended so.
    """
    doing = asyncio.ensure_future(work)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        ended.set()
        doing.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        await doing
    except asyncio.CancelledError:
        if ended.is_set():
            raise KeyboardInterrupt from None
        raise


def _terminal(*, as_json: bool) -> Terminal:
    from agency.agent.trying.terminal import Lines, Terminal

    shown = console(stderr=as_json)
    attended = sys.stdin.isatty() and shown.file.isatty()
    return Terminal(shown, Lines(sys.stdin.fileno()) if attended else None, quiet=as_json)


def _typed(terminal: Terminal, tasks: Sequence[str], *, key_from_stdin: bool) -> Sequence[str]:
    """Return the tasks that are known before it begins; none if a person types them."""
    if tasks or terminal.lines is not None:
        return tasks
    text = "" if key_from_stdin or sys.stdin.isatty() else sys.stdin.read(_MAX_TASK).strip()
    if not text:
        raise UsageError(
            "there is no task", hint="give --task, write one to standard input, or use a terminal"
        )
    return (text,)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked to try."""

    template: str
    agent: str
    given: dict[str, str]
    script: str | None
    repository: Path | None


def _policy(wanted: Wanted, place: Path, *, ask: bool) -> tuple[Document, Script]:
    """Make the document with what its tools need, and choose the script."""
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


def _real_model(
    name: str | None, url: str | None, kind: Any, key_file: Path | None
) -> RealModel | None:
    from agency.agent.keys import STDIN, read_key
    from agency.secrets import SecretValue

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


def _secrets(files: Sequence[str]) -> dict[str, Any]:
    from agency.agent.keys import read_key

    named = _pairs(files, "--secret-file")
    return {name: read_key(Path(file), f"the secret {name}") for name, file in named.items()}


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or name in found:
            raise UsageError(f"{option} {each[:60]!r} is no NAME=VALUE, or is there twice")
        found[name] = value
    return found
