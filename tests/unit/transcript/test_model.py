"""The statement is strict, closed, and described by the published schema."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agency.canonical import canonical_json
from agency.transcript.rules.v2.model import Predicate, Statement, normalised
from agency.transcript.schema import schema, schema_text

Document = dict[str, Any]


def test_a_statement_comes_back_as_it_was(document: Document) -> None:
    assert Statement.model_validate(document).document() == document


def test_a_failed_statement_comes_back_as_it_was(failed_document: Document) -> None:
    assert Statement.model_validate(failed_document).document() == failed_document


def _objects(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all objects that are not free JSON."""
    if path and path[-1] in ("evidence", "observed", "versions"):
        return []
    if isinstance(value, dict):
        return [path, *(p for k, v in value.items() for p in _objects(v, (*path, k)))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in _objects(v, (*path, i))]
    return []


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def test_unknown_fields_are_refused_everywhere(document: Document) -> None:
    paths = _objects(document)
    assert len(paths) > 30
    for path in paths:
        _at(document, path)["unknown"] = "1"
        with pytest.raises(ValidationError):
            Statement.model_validate(document)
        del _at(document, path)["unknown"]
    Statement.model_validate(document)


def test_field_names_are_those_of_the_format_alone(document: Document) -> None:
    machine = document["predicate"]["environment"]
    machine["memory_mb"] = machine.pop("memoryMb")
    with pytest.raises(ValidationError, match="memoryMb"):
        Statement.model_validate(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("predicateType",), "urn:agency:spinup-transcript:v1"),
        (("subject",), []),
        (("subject", 0, "name"), "image"),
        (("subject", 1, "name"), "source"),
        (("subject", 0, "digest"), {}),
        (("subject", 0, "digest"), {"gitCommit": "b2" * 20}),
        (("subject", 0, "digest", "sha256"), "A1" * 32),
        (("subject", 0, "digest", "sha256"), "a1" * 31),
        (("subject", 0, "digest", "gitCommit"), "main"),
        (("predicate", "target"), "cloud"),
        (("predicate", "startedAt"), "2026-07-01 12:00:00"),
        (("predicate", "startedAt"), "2026-07-01T12:00:00.000+00:00"),
        (("predicate", "startedAt"), "2026-13-01T12:00:00.000Z"),
        (("predicate", "finishedAt"), 1782907200),
        (("predicate", "environment", "cpus"), 2.0),
        (("predicate", "environment", "cpus"), True),
        (("predicate", "environment", "cpus"), 0),
        (("predicate", "environment", "user"), "alice"),
        (("predicate", "steps", 0, "status"), "configured"),
        (("predicate", "steps", 0, "durationS"), -0.1),
        (("predicate", "steps", 0, "durationS"), "0.25"),
        (("predicate", "steps", 0, "durationS"), float("nan")),
        (("predicate", "probes", 0, "mode"), "assumed"),
        (("predicate", "probes", 0, "status"), "configured"),
        (("predicate", "probes", 0, "mandatory"), 1),
        (("predicate", "probes", 0, "evidence"), ["observed"]),
        (("predicate", "scenario", 0, "passed"), "true"),
        (("predicate", "quarantine", "mode"), "container"),
        (("predicate", "quarantine", "attempts", 0, "outcome"), "sent"),
        (("predicate", "audit", "head"), "5e" * 31),
        (("predicate", "audit", "count"), -1),
        (("predicate", "failure"), "none"),
        (("predicate", "result"), "passed"),
        (("predicate", "result"), "PASSED "),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(path: tuple[Any, ...], value: Any, document: Document) -> None:
    _at(document, path[:-1])[path[-1]] = value
    with pytest.raises(ValidationError):
        Statement.model_validate(document)


@pytest.mark.parametrize("name", ["source", "instance"])
def test_source_and_instance_must_be_subjects(name: str, document: Document) -> None:
    document["subject"] = [s for s in document["subject"] if s["name"] != name]
    with pytest.raises(ValidationError, match=name):
        Statement.model_validate(document)


def test_the_system_may_be_a_subject(document: Document) -> None:
    document["subject"].append({"name": "system", "digest": {"sha256": "e5" * 32}})
    Statement.model_validate(document)


def test_every_field_but_the_explaining_ones_is_needed(document: Document) -> None:
    predicate = document["predicate"]
    for name in list(predicate):
        value = predicate.pop(name)
        with pytest.raises(ValidationError):
            Predicate.model_validate(predicate)
        predicate[name] = value
    Predicate.model_validate(predicate)


def test_numbers_are_rounded_and_text_is_utf8(document: Document) -> None:
    predicate = document["predicate"]
    predicate["steps"][0]["durationS"] = 0.123456
    predicate["probes"][0]["evidence"]["deep"] = [{"f": 1 / 3, "t": "a\ud800b"}]
    found = Statement.model_validate(document).document()["predicate"]
    assert found["steps"][0]["durationS"] == 0.123
    assert found["probes"][0]["evidence"]["deep"] == [{"f": 0.333, "t": "a\ufffdb"}]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_normalising_twice_is_normalising_once(value: Any) -> None:
    once = normalised(value)
    assert normalised(once) == once
    assert json.loads(canonical_json(once)) == once


def test_the_published_schema_is_current() -> None:
    published = resources.files("agency.transcript.rules.v2") / "schema.json"
    assert published.read_text() == schema_text()


def test_the_schema_is_a_schema_and_accepts_what_the_model_accepts(
    document: Document, failed_document: Document
) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors(failed_document)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("subject", 0, "digest"), {}),
        (("subject", 0, "digest", "md5"), "00" * 16),
        (("predicateType",), "urn:other"),
        (("predicate", "result"), "OK"),
        (("predicate", "probes", 0, "mode"), "configured"),
        (("predicate", "unknown"), 1),
    ],
    ids=str,
)
def test_the_schema_refuses_too(path: tuple[Any, ...], value: Any, document: Document) -> None:
    _at(document, path[:-1])[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())
