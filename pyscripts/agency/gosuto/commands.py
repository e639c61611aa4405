"""Commands `agency gosuto validate`, `explain` and `template`: documents in files, offline."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import ExitCode, UsageError
from agency.gosuto.decision import Answer, decide, findings, read_arguments
from agency.gosuto.document import MAX_BYTES, GosutoError, as_data, as_yaml, read_document, sha256
from agency.gosuto.enforcement import unenforced
from agency.gosuto.model import Document
from agency.gosuto.template import load_template, template_names
from agency.settings import read_bounded

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def gosuto() -> None:
    """Check an agent's policy document, and ask what it decides."""


@gosuto.command("validate")
@_FILE
@json_option
def validate_command(file: Path, as_json: bool) -> int:
    """Check the Gosuto in FILE, and name the fields that nothing enforces so far.

    Exits with 1 if it is invalid; every problem is named with its line and field.
    """
    try:
        document = _read(file)
    except GosutoError as error:
        if not as_json:
            raise
        emit({"ok": False, **error.as_dict()}, as_json=True, human=lambda _: None)
        return int(ExitCode.BAD)
    warnings = unenforced(document)

    def human(out: Console) -> None:
        out.print(Text(f"{file}: a valid Gosuto for {document.metadata.name}"))
        out.print(Text(f"sha256:{sha256(document)}"))
        for warning in warnings:
            out.print(Text(f"warning: {warning}"))

    told = {
        "ok": True,
        "agent": document.metadata.name,
        "sha256": sha256(document),
        "warnings": list(warnings),
    }
    emit(told, as_json=as_json, human=human)
    return int(ExitCode.DONE)


@gosuto.command("explain")
@_FILE
@click.argument("tool")
@click.argument("args", metavar="[ARGS-JSON]", default="{}")
@json_option
def explain_command(file: Path, tool: str, args: str, as_json: bool) -> int:
    """Say what the Gosuto in FILE answers to a call of TOOL, and by which rule.

    TOOL is server/tool, ARGS-JSON the object of its arguments. Exits with 0 if the call is allowed,
    with 1 if it is refused or people would be asked.
    """
    document, given = _read(file), read_arguments(args)
    decision = decide(document, tool, given)
    looked = findings(document, tool, given)

    def human(out: Console) -> None:
        by = "" if decision.rule is None else f", by the rule {decision.rule}"
        out.print(Text(f"{decision.answer}{by}: {decision.reason}"))
        for each in looked:
            out.print(Text(f"  {each.rule}: {each.answer or 'not about this call'}: {each.reason}"))

    told = {
        "answer": str(decision.answer),
        "rule": decision.rule,
        "reason": decision.reason,
        "rules": [
            {"rule": each.rule, "answer": each.answer and str(each.answer), "reason": each.reason}
            for each in looked
        ],
    }
    emit(told, as_json=as_json, human=human)
    return int(ExitCode.DONE if decision.answer is Answer.ALLOW else ExitCode.BAD)


@gosuto.command("template")
@click.argument("name", required=False)
@click.argument("values", nargs=-1, metavar="[VARIABLE=VALUE...]")
@click.option("--agent", default="pm", show_default=True, help="The agent that it is for.")
@json_option
def template_command(name: str | None, values: tuple[str, ...], agent: str, as_json: bool) -> None:
    """Print the document that a template makes; without NAME, list the templates."""
    if name is None:
        _list(as_json)
        return
    given: dict[str, str] = {}
    for each in values:
        variable, equals, value = each.partition("=")
        if not equals or variable in given:
            raise UsageError(f"{each[:60]!r} is no VARIABLE=VALUE, or is there twice")
        given[variable] = value
    document = load_template(name).fill(agent, given)
    text = as_yaml(document)
    emit(as_data(document), as_json=as_json, human=lambda _: click.echo(text, nl=False))


def _list(as_json: bool) -> None:
    templates = [load_template(each) for each in template_names()]

    def human(out: Console) -> None:
        for each in templates:
            out.print(Text(f"{each.name}: {each.summary}"))
            for name, variable in each.variables.items():
                rest = "" if variable.default is None else f" (default: {variable.default})"
                out.print(Text(f"  {name}: {variable.summary}{rest}"))

    emit(
        [each.model_dump(exclude={"document"}) for each in templates], as_json=as_json, human=human
    )


def _read(file: Path) -> Document:
    content = read_bounded(file, most=MAX_BYTES, what="the Gosuto")
    return read_document(str(file), content)
