"""Differences between two documents, field by field; and edits of single fields by path. Pure."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agency.canonical import depth_of
from agency.errors import UsageError
from agency.gosuto.document import GosutoError, as_data, validate
from agency.gosuto.model import Document
from agency.yaml_source import MAX_DEPTH, Source

_ASSIGNMENT = re.compile(r"([A-Za-z_/][A-Za-z0-9_./~-]*?)([+-]?)=(.*)\Z", re.DOTALL)
_PLACE = "the edit"


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs; a side is None where the field is not there."""

    field: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """Write it on one line: + added, - removed, ~ changed."""
        if self.before is None:
            return f"+ {self.field}: {self.after}"
        if self.after is None:
            return f"- {self.field}: {self.before}"
        return f"~ {self.field}: {self.before} -> {self.after}"


def compare(before: Document | None, after: Document) -> tuple[Change, ...]:
    """Return the fields that differ, by name. Defaults are fields, too."""
    old = {} if before is None else dict(_leaves(as_data(before), ""))
    new = dict(_leaves(as_data(after), ""))
    return tuple(
        Change(field, old.get(field), new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field)
    )


def _leaves(data: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        here = f"{place}.{key}" if place else key
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        else:
            yield here, json.dumps(value, ensure_ascii=False)


def edit(document: Document, assignments: Sequence[str]) -> Document:
    """Apply edits: `FIELD=VALUE`, `FIELD=` to remove, `LIST+=VALUE` and `LIST-=VALUE`.

    A value that is JSON is taken as that; where the field takes only text, as text.

    Raises:
        UsageError: an edit is none, or there is nothing at its place.
        GosutoError: the document would be invalid.
    """
    data = as_data(document)
    for text in assignments:
        data = _apply(data, text)
    return _validated(data)


def _apply(data: dict[str, Any], text: str) -> dict[str, Any]:
    """Apply one edit. Of its two readings, JSON and text, take JSON unless only text fits."""
    parsed = _ASSIGNMENT.match(text)
    if parsed is None:
        raise UsageError(
            f"{text[:60]!r} is no edit", hint="write FIELD=VALUE, such as limits.eventsPerMinute=10"
        )
    path, operator, raw = parsed[1].split("."), parsed[2], parsed[3]
    if not all(path):
        raise UsageError(f"{parsed[1]!r} is no path of a field")
    readings = _readings(parsed[1], raw)
    if len(path) + max(depth_of(value, MAX_DEPTH) for value in readings) > MAX_DEPTH:
        raise _too_deep(parsed[1])
    first, *others = [_put(data, path, operator, value) for value in readings]
    if others and _fault_at(first, path) and not _fault_at(others[0], path):
        return others[0]
    return first


def _readings(field: str, raw: str) -> list[Any]:
    try:
        found = json.loads(raw, parse_constant=lambda _name: raw)
    except RecursionError:
        raise _too_deep(field) from None
    except ValueError:
        return [raw]
    return [found] if isinstance(found, str | list | dict) else [found, raw]


def _too_deep(field: str) -> UsageError:
    return UsageError(
        f"{field[:60]} would be nested deeper than {MAX_DEPTH} levels",
        hint="no field of a Gosuto is that deep",
    )


def _put(data: dict[str, Any], path: list[str], operator: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(data)
    here: Any = made
    for key in path[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise UsageError(f"{'.'.join(path)} is below {key}, which holds no fields")
    last = path[-1]
    if operator:
        here[last] = _listed(here.get(last, []), operator, value, ".".join(path))
    elif value == "":
        if last not in here:
            raise UsageError(f"there is no {'.'.join(path)} to remove")
        del here[last]
    else:
        here[last] = value
    return made


def _listed(found: Any, operator: str, value: Any, field: str) -> list[Any]:
    if not isinstance(found, list):
        raise UsageError(f"{field} is no list", hint=f"write {field}=VALUE")
    if operator == "+":
        return found if value in found else [*found, value]
    if value not in found:
        raise UsageError(f"{field} does not hold {str(value)[:60]!r}")
    return [each for each in found if each != value]


def _fault_at(data: dict[str, Any], path: list[str]) -> bool:
    """Return whether the model refuses the value at a path, or below it."""
    source = Source(_PLACE, data)
    validate(source)
    field = ".".join(path)
    return any(
        each.field == field or each.field.startswith((f"{field}.", f"{field}["))
        for each in source.problems
    )


def _validated(data: dict[str, Any]) -> Document:
    source = Source(_PLACE, data)
    document = validate(source)
    if document is None or source.problems:
        raise GosutoError(source.problems)
    return document
