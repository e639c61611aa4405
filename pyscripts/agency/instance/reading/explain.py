"""Messages for pydantic's errors: the fault and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic_core import ErrorDetails

from agency.instance.problems import Loc
from agency.instance.reading.schema import instance_schema
from agency.yaml_source import Source

_EXAMPLES: Mapping[str, str] = {
    "version": "version: 1",
    "name": "name: agency",
    "domain": "domain: agency.example.org",
    "operators": 'operators: ["@alice:agency.example.org"]',
    "secrets": "secrets: {provider: ephemeral}, or sops with recipients",
    "role": "role: developer",
    "repository": "repository: recipes/hedgedoc",
}
_WANTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def explain(source: Source, error: ErrorDetails) -> tuple[Loc, str]:
    """Return the location in the file and the message of a pydantic error."""
    kind, context = error["type"], error.get("ctx", {})
    loc = tuple(part for part in error["loc"] if part != "[key]")
    if kind == "missing":
        name = str(loc[-1])
        return loc, f"is missing; add it, such as `{_EXAMPLES.get(name, name + ': ...')}`"
    if kind == "extra_forbidden":
        return loc, _unknown_key(loc)
    if kind in _WANTED:
        found = _found(source, loc, error["input"])
        scalar = isinstance(error["input"], bool | int | float)
        quote = "; put it in quotes" if kind == "string_type" and scalar else ""
        return loc, f"must be {_WANTED[kind]}, not {found}{quote}"
    if kind == "literal_error":
        return loc, f"must be {context['expected']}, not {_found(source, loc, error['input'])}"
    if kind == "value_error":
        return loc, str(context["error"])
    if kind == "too_short":
        return loc, "must have at least one entry"
    bounds = {"greater_than_equal": "ge", "less_than_equal": "le", "less_than": "lt"}
    if kind in bounds:
        wanted = error["msg"].removeprefix("Input should be ")
        return loc, f"must be {wanted}, not {_found(source, loc, error['input'])}"
    return loc, error["msg"]


def _found(source: Source, loc: Loc, value: object) -> str:
    place = source.places.get(loc)
    raw = place.raw if place is not None else None
    shown = repr((raw if raw is not None else str(value))[:40])[1:-1]
    if value is None:
        return "nothing; give it a value or remove the key"
    if isinstance(value, bool):
        return f"the boolean {shown}"
    if isinstance(value, (int, float)):
        return f"the number {shown}"
    if isinstance(value, str):
        return f'the text "{shown}"'
    return "a list" if isinstance(value, list) else "a mapping"


def _unknown_key(loc: Loc) -> str:
    known = known_keys(loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]).lower(), [key.lower() for key in known], n=1)
    if near:
        suggestion = next(key for key in known if key.lower() == near[0])
        return f'is not a known key; did you mean "{suggestion}"?'
    return f"is not a known key; the keys here are: {', '.join(known)}"


def known_keys(loc: Loc) -> tuple[str, ...]:
    """Return the keys that are allowed in the mapping at a location."""
    schema = instance_schema()
    definitions = schema.get("$defs", {})
    for part in loc:
        schema = schema.get("properties", {}).get(part) or schema.get("additionalProperties") or {}
        reference = schema.get("$ref", "")
        schema = definitions.get(reference.rpartition("/")[2], schema)
    return tuple(schema.get("properties", {}))
