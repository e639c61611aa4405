"""Sheets: the YAML files of a workspace that its agent, people and our programs all write.

A sheet is read strictly, with the line of each fault. A change keeps comments, order and quotes,
and is checked before it is written: what it would change beyond the wish is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agency.errors import BadInputError
from agency.field_errors import explain_error
from agency.files import write_atomically
from agency.settings import read_bounded
from agency.yaml_source import Loc, Problem, Source, read_source

_NO_FOLDING = 2**31 - 1
# Of our own states and the like; no reader of YAML takes these words for anything else.
_WORD = re.compile(r"(?!(?:yes|no|on|off|true|false|null|y|n)\Z)[a-z][a-z_]*\Z")
_MOST_SHOWN = 10
_MOST_INDENT = 8

SheetT = TypeVar("SheetT", bound=BaseModel)
Rules = Callable[[SheetT], Iterable[tuple[Loc, str]]]


class SheetError(BadInputError):
    """Faults of a sheet, each with its line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda each: each.line or 0))
        shown = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            shown.append(f"and {len(self.problems) - _MOST_SHOWN} more")
        super().__init__("\n".join(shown), hint="mend the file; nothing was changed")

    def as_dict(self) -> dict[str, object]:
        """Describe the error as `--json` prints it, with the list of faults."""
        return {**super().as_dict(), "problems": [asdict(each) for each in self.problems]}


def parse_sheet(
    file: str,
    content: bytes,
    model: type[SheetT],
    rules: Rules[SheetT],
    examples: Mapping[str, str],
) -> SheetT:
    """Parse a sheet; `rules` are those between fields, `examples` show how missing keys are set.

    Raises:
        SheetError: the sheet has faults; the message has each with its line.
    """
    source = read_source(file, content)
    sheet: SheetT | None = None
    if not source.problems:
        sheet = _validated(source, model, examples)
    if sheet is not None:
        for loc, message in rules(sheet):
            source.add(loc, message)
    if sheet is None or source.problems:
        raise SheetError(source.problems)
    return sheet


def _validated(source: Source, model: type[SheetT], examples: Mapping[str, str]) -> SheetT | None:
    try:
        return model.model_validate(source.data)
    except ValidationError as failure:
        schema = model.model_json_schema(by_alias=False)
        for error in failure.errors(include_url=False):
            source.add(*explain_error(source, error, schema, examples))
    return None


def read_sheet(
    path: Path, model: type[SheetT], rules: Rules[SheetT], examples: Mapping[str, str]
) -> tuple[SheetT, bytes]:
    """Read a sheet and its bytes.

    Raises:
        PrerequisiteError: it cannot be read. SheetError: it has faults.
    """
    hint = "the reconciler agent-workspaces makes the files of a workspace that are missing"
    content = read_bounded(path, what=path.name, hint=hint)
    return parse_sheet(str(path), content, model, rules, examples), content


def changed_text(
    content: bytes,
    key: str,
    changes: Mapping[str, Mapping[str, str]],
    added: Iterable[Mapping[str, object]] = (),
) -> bytes:
    """Set fields of the entries of a list by their `name`, and append entries.

    Text is written in quotes, so that no reader of YAML takes it for a date or a boolean.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NO_FOLDING
    data, indent, offset = load_yaml_guess_indent(content.decode("utf-8-sig"), yaml=yaml)
    entries = data[key]
    for entry in entries:
        for name, value in changes.get(str(entry["name"]), {}).items():
            entry[name] = value if _WORD.match(value) else _quoted(value)
    for entry in added:
        if not entries:
            entries.fa.set_block_style()
        entries.append({name: _quoted(value) for name, value in entry.items()})
    yaml.indent(mapping=2, sequence=indent or 4, offset=offset or (0 if indent else 2))
    written = io.StringIO()
    yaml.dump(data, written)
    return written.getvalue().encode()


def entry_bytes(entry: Mapping[str, object]) -> int:
    """Return how many bytes an appended entry takes at most, however its list is indented."""
    text = changed_text(b"list: []\n", "list", {}, (entry,))
    return len(text) + _MOST_INDENT * text.count(b"\n")


def _quoted(value: object) -> object:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, str):
        return DoubleQuotedScalarString(value)
    return [_quoted(each) for each in value] if isinstance(value, list) else value


def write_sheet(path: Path, content: bytes, expected: BaseModel, found: BaseModel) -> None:
    """Write a changed sheet, if it reads as expected.

    Raises:
        BadInputError: the change would change more than it should.
        PrerequisiteError: it cannot be written; the old file is intact.
    """
    if found != expected:
        raise BadInputError(
            "cannot be changed by a program without changing more",
            where=str(path),
            hint="write the list in block style, one entry below the other",
        )
    write_atomically(path, content, mode=path.stat().st_mode & 0o777)
