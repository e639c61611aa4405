"""Reading of a document, with every problem by line and field; its canonical bytes and digest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import yaml
from pydantic import ValidationError

from agency.canonical import canonical_json, once_each, sha256_hex
from agency.errors import BadInputError
from agency.field_errors import explain_error
from agency.gosuto.model import API_VERSION, Document, conflicts
from agency.yaml_source import Problem, Source, field_name, read_source

MAX_BYTES = 48 * 1024
_MOST_SHOWN = 20
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXAMPLES: Mapping[str, str] = {
    "apiVersion": f"apiVersion: {API_VERSION}",
    "metadata": "metadata: {name: pm}",
    "name": "name: pm",
    "tool": "tool: browser/fetch",
    "answer": "answer: ask",
    "approvers": 'approvers: ["@alice:agency.example.org"]',
    "command": "command: [mcp-server-fetch]",
    "type": "type: cron",
}


class GosutoError(BadInputError):
    """Error of an invalid document, with every problem found."""

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        told = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            told.append(f"and {len(self.problems) - _MOST_SHOWN} more")
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"the Gosuto has {count}:", *told]), hint=hint)

    def as_dict(self) -> dict[str, object]:
        """Return the error as `--json` prints it, with the list of problems."""
        return {**super().as_dict(), "problems": [asdict(problem) for problem in self.problems]}


def read_document(file: str, content: bytes) -> Document:
    """Read a document in YAML.

    Raises:
        GosutoError: it is invalid; the error lists every problem.
    """
    source = read_source(file, content, max_bytes=MAX_BYTES)
    document = None if source.data is None else validate(source)
    if document is None or source.problems:
        raise GosutoError(sorted(source.problems, key=lambda each: each.line or 0))
    return document


def validate(source: Source) -> Document | None:
    """Validate the data of a source; problems are added to `source.problems`."""
    version = source.data.get("apiVersion")
    if isinstance(version, str) and version != API_VERSION:
        source.add(("apiVersion",), f"is {version[:40]!r}; this version reads {API_VERSION}")
        return None
    told = {problem.field for problem in source.problems}
    try:
        document = Document.model_validate(source.data, by_alias=True, by_name=False)
    except ValidationError as failure:
        for error in failure.errors(include_url=False):
            loc, message = explain_error(source, error, document_schema(), _EXAMPLES)
            if field_name(loc) not in told:
                source.add(loc, message)
        return None
    for loc, message in conflicts(document):
        source.add(loc, message)
    if not source.problems and len(canonical(document)) > MAX_BYTES:
        source.add((), f"is larger than {MAX_BYTES} bytes")
    return document


def as_data(document: Document) -> dict[str, Any]:
    """Return a document as plain data, with defaults, without what is left out."""
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def canonical(document: Document) -> bytes:
    """Return the canonical bytes of a document: equal documents have equal bytes."""
    return canonical_json(as_data(document))


def sha256(document: Document) -> str:
    """Return the SHA-256 of the canonical bytes, in hex."""
    return sha256_hex(canonical(document))


def as_yaml(document: Document) -> str:
    """Write a document for people."""
    text: str = yaml.safe_dump(
        as_data(document), sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )
    return text


def read_canonical(data: bytes, digest: str) -> Document:
    """Read a document from its canonical bytes, as they are stored and delivered.

    Raises:
        BadInputError: the bytes have another SHA-256, or are no valid document.
    """
    if sha256_hex(data) != digest:
        raise BadInputError("the bytes of the Gosuto do not have the digest that was named")
    try:
        told = json.loads(data, object_pairs_hook=once_each)
        if not isinstance(told, dict):
            raise BadInputError("the bytes of the Gosuto are not a JSON object")
        document = Document.model_validate(told, by_alias=True, by_name=False)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise BadInputError("the bytes of the Gosuto are not JSON, or a key is twice") from None
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInputError(f"not a Gosuto of {API_VERSION}: {place}: {first['msg']}") from None
    problems = [Problem("gosuto", None, field_name(loc), text) for loc, text in conflicts(document)]
    if problems:
        raise GosutoError(problems)
    return document


@cache
def document_schema() -> dict[str, Any]:
    """Return the JSON Schema of a document. Rules between fields are only in `gosuto validate`."""
    schema = Document.model_json_schema()
    del schema["title"]
    return {"$schema": _DIALECT, "title": f"Gosuto, {API_VERSION}", **schema}
