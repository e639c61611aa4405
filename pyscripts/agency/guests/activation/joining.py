"""Joining of JSON documents: what parts add to one that every machine has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agency.errors import BadInputError


def joined(document: Any, more: Any, *, replaces: bool, where: str) -> Any:
    """Join a document with another: further keys, longer lists, and other values.

    Raises:
        BadInputError: a value is another though none `replaces` one, or is of another kind.
    """
    if isinstance(document, dict) and isinstance(more, dict):
        return document | {
            key: joined(document[key], value, replaces=replaces, where=f"{where}: {key}")
            if key in document
            else value
            for key, value in more.items()
        }
    if isinstance(document, list) and isinstance(more, list):
        # What two parts both add is there once.
        return [*document, *(one for one in more if replaces or one not in document)]
    structured = (dict, list)
    same_kind = not isinstance(document, structured) and not isinstance(more, structured)
    if document != more and not (replaces and same_kind):
        raise BadInputError("two parts say different things", where=where)
    return more


def join_parts(texts: Mapping[str, str], parts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the texts with the documents of all parts joined to those of their paths.

    `parts` are, by the name of each, its documents by their paths.

    Raises:
        BadInputError: there is no such document, or two parts contradict each other.
    """
    additions: dict[str, Any] = {}
    for part, documents in parts.items():
        for path, text in documents.items():
            if path not in texts:
                raise BadInputError(f"part {part}: is not there to be joined", where=path)
            more = json.loads(text)
            before = additions.get(path)
            additions[path] = (
                more if before is None else joined(before, more, replaces=False, where=path)
            )
    return dict(texts) | {
        path: json.dumps(
            joined(json.loads(texts[path]), more, replaces=True, where=path), separators=(",", ":")
        )
        for path, more in additions.items()
    }
