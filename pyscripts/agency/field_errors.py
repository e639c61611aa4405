"""Messages for the errors of a strict model over a YAML document: the fault and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from agency.yaml_source import Loc, Source

_WANTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}
_BOUNDS: Mapping[str, str] = {
    "greater_than_equal": "ge",
    "less_than_equal": "le",
    "less_than": "lt",
}


def explain_error(
    source: Source,
    error: ErrorDetails,
    schema: Mapping[str, Any],
    examples: Mapping[str, str],
) -> tuple[Loc, str]:
    """Return the location in the file and the message of a pydantic error.

    `schema` is the document's JSON Schema, by which known keys are named; `examples` shows how a
    missing key is written.
    """
    kind, context = error["type"], error.get("ctx", {})
    loc = tuple(part for part in error["loc"] if part != "[key]")
    if kind == "missing":
        name = str(loc[-1])
        return loc, f"is missing; add it, such as `{examples.get(name, name + ': ...')}`"
    if kind == "extra_forbidden":
        return loc, _unknown_key(known_keys(schema, loc[:-1]), str(loc[-1]))
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
    if kind in _BOUNDS:
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


def _unknown_key(known: tuple[str, ...], name: str) -> str:
    near = difflib.get_close_matches(name.lower(), [key.lower() for key in known], n=1)
    if near:
        suggestion = next(key for key in known if key.lower() == near[0])
        return f'is not a known key; did you mean "{suggestion}"?'
    return f"is not a known key; the keys here are: {', '.join(known)}"


def known_keys(schema: Mapping[str, Any], loc: Loc) -> tuple[str, ...]:
    """Return the keys that are allowed in the mapping at a location."""
    definitions = schema.get("$defs", {})
    for part in loc:
        listed = "items" if isinstance(part, int) else "additionalProperties"
        schema = schema.get("properties", {}).get(part) or schema.get(listed) or {}
        choices = schema.get("anyOf", ())
        schema = next((each for each in choices if "$ref" in each), schema)
        reference = schema.get("$ref", "")
        schema = definitions.get(reference.rpartition("/")[2], schema)
    return tuple(schema.get("properties", {}))
