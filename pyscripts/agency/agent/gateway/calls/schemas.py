"""Validation by the JSON Schema of a tool, which comes from a server that may lie.

A schema is bounded in size and depth, names nothing outside itself (no file and no URL is read),
its patterns are RE2 (linear in time), and one validation follows a bounded number of references.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import re2
from jsonschema import (
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    validators,
)
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

from agency.canonical import canonical_json, depth_of

MAX_SCHEMA = 64 * 1024  # bytes
MAX_DEPTH = 32
_MOST_REFERENCES = 500
_SHOWN = 160
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

_left: ContextVar[int] = ContextVar("references_left")


class BadSchemaError(ValueError):
    """A schema that the gateway does not check by; its tool cannot be called."""


class _EndlessError(Exception):
    """More references than one validation may follow."""


class Checker:
    """Check of JSON data by one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Read a schema.

        Raises:
            BadSchemaError: it is too large or deep, is none, or has a pattern that RE2 lacks.
        """
        plain = _read(schema)
        for pattern in _patterns(schema):
            _compiled(pattern)
        if _has_both(schema):
            raise BadSchemaError("its schema has both patternProperties and unevaluatedProperties")
        self._validator = _SAFE.get(plain, _SAFE[Draft202012Validator])(schema, registry=Registry())

    def fault(self, data: object) -> str:
        """Say where data do not match, without their values; empty if they match."""
        token = _left.set(_MOST_REFERENCES)
        try:
            error = next(iter(self._validator.iter_errors(data)), None)
        except (_EndlessError, RecursionError):
            return "its schema refers to itself without end"
        except Exception:  # noqa: BLE001 - as above: a reference to a file, a URL, or nothing
            return "its schema refers to what is not in it"
        finally:
            _left.reset(token)
        if error is None:
            return ""
        place = "/".join(str(part)[:40] for part in error.absolute_path)
        rule = _plain(str(error.validator))[:40]
        return f"not as the tool's schema says: {rule} at /{_plain(place)}"


def _read(schema: Mapping[str, Any]) -> Any:
    """Check a schema by its size and by its own schema; return the library's class for it."""
    if depth_of(schema, MAX_DEPTH) > MAX_DEPTH:
        raise BadSchemaError(f"its schema is deeper than {MAX_DEPTH}")
    try:
        size = len(canonical_json(schema))
        plain: Any = validators.validator_for(schema, default=Draft202012Validator)
        if size <= MAX_SCHEMA:
            plain.check_schema(schema)
    except SchemaError as error:
        raise BadSchemaError(f"its schema is none: {_plain(error.message)}") from None
    except Exception:  # noqa: BLE001 - whatever a server's schema does to the library: refused
        raise BadSchemaError("its schema cannot be read") from None
    if size > MAX_SCHEMA:
        raise BadSchemaError(f"its schema is larger than {MAX_SCHEMA} bytes")
    return plain


def _plain(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()[:_SHOWN]


def _patterns(schema: object) -> Iterator[str]:
    """List every pattern of a schema, also where it would not count."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            if key == "patternProperties" and isinstance(value, Mapping):
                yield from map(str, value)
            yield from _patterns(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _patterns(each)


def _has_both(schema: Mapping[str, Any]) -> bool:
    # The library finds evaluated properties by Python's own patterns.
    text = canonical_json(schema)
    return b'"patternProperties":' in text and b'"unevaluatedProperties":' in text


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise BadSchemaError("its schema has a pattern that RE2 does not know") from None


def _pattern(_: Any, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _compiled(pattern).search(instance):
        yield ValidationError("does not match the pattern")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: object, _: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    for pattern, schema in patterns.items():
        compiled = _compiled(pattern)
        for key, value in instance.items():
            if compiled.search(key):
                yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _additional(
    validator: Any, allowed: Any, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    known = schema.get("properties", {})
    patterns = [_compiled(each) for each in schema.get("patternProperties", {})]
    for key, value in instance.items():
        if key in known or any(each.search(key) for each in patterns):
            continue
        if allowed is False:
            yield ValidationError("has a property that it may not have")
        elif isinstance(allowed, Mapping):
            yield from validator.descend(value, allowed, path=key)


def _follow(
    plain: Any, validator: Any, ref: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    left = _left.get() - 1
    if left < 0:
        raise _EndlessError
    _left.set(left)
    yield from plain(validator, ref, instance, schema) or ()


def _safe(plain: Any) -> Any:
    counted = {
        keyword: partial(_follow, plain.VALIDATORS[keyword])
        for keyword in _REFERENCES
        if keyword in plain.VALIDATORS
    }
    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
    }
    return validators.extend(plain, {**own, **counted})  # type: ignore[no-untyped-call]  # its stub


_SAFE: Mapping[Any, Any] = {
    plain: _safe(plain) for plain in (Draft7Validator, Draft201909Validator, Draft202012Validator)
}
