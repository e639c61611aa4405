"""docs/gosuto-spec.md: each field of the model, with an enforcer or none; the files are current."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from docgen import gosuto as docgen
from gosutos import document, filled

from agency.gosuto import as_yaml, template_names, unenforced
from agency.gosuto.enforcement import ENFORCERS, NOT_ENFORCED, fields

DOCS = Path(__file__).resolve().parents[3] / "docs"
_ROW = r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \| ([^|]+) \|$"
ROWS = dict(re.findall(_ROW, (DOCS / docgen.PAGE).read_text(), re.MULTILINE))


def leaves_of_schema(schema, part, place=""):
    """Every field that holds a value, by the JSON Schema: found on another way than the table's."""
    while "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    for choice in part.get("anyOf", ()):
        if choice.get("$ref"):
            yield from leaves_of_schema(schema, choice, place)
            return
    below = part.get("additionalProperties")
    if isinstance(below, dict) and "$ref" in below:
        yield from leaves_of_schema(schema, below, f"{place}.*")
    elif "$ref" in part.get("items", {}):
        yield from leaves_of_schema(schema, part["items"], f"{place}[]")
    elif "properties" in part:
        for key, inner in part["properties"].items():
            yield from leaves_of_schema(schema, inner, f"{place}.{key}".lstrip("."))
    else:
        yield place


def test_the_table_has_exactly_the_fields_of_the_model():
    schema = json.loads(docgen.schema())
    found = list(leaves_of_schema(schema, schema))
    assert sorted(found) == sorted(ROWS)
    assert [each.name for each in fields()] == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_field_has_an_enforcer_or_says_that_it_has_none(name):
    by = ROWS[name]
    if by.startswith(NOT_ENFORCED):
        return
    module, _, function = by.strip("`").partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_some_field_is_enforced_and_each_entry_is_about_a_field():
    assert any(not by.startswith(NOT_ENFORCED) for by in ROWS.values())
    for beginning in ENFORCERS:
        assert any(f"{name}.".startswith(f"{beginning}.") for name in ROWS), beginning


def test_what_is_used_and_not_enforced_is_said():
    said = unenforced(filled("pm"))
    assert any(each.startswith("secrets is not enforced yet") for each in said)
    enforced = ("gateways", "capabilities", "approvals", "trust")
    assert not any(each.startswith(enforced) for each in said)
    assert not any(each.startswith("limits.") for each in said)  # `limits` says it


def test_a_field_within_an_enforced_part_is_said_too():
    timer = {"type": "cron", "schedule": "0 7 * * *", "message": "x"}
    assert not [each for each in unenforced(document({}, gateways={"t": timer})) if "gate" in each]
    own = {"type": "program", "command": ["x"]}
    (told,) = unenforced(document({}, gateways={"t": timer, "own": own}))
    assert told.startswith("gateways.own.command is not enforced yet")
    found = filled("pm")
    persona = found.persona.model_copy(update={"api_key": "model-key"})
    said = unenforced(found.model_copy(update={"persona": persona}))
    assert any(each.startswith("persona.apiKey is not enforced: ") for each in said)


def test_the_files_are_current():
    assert (DOCS / docgen.PAGE).read_text() == docgen.page(), "run: make docs"
    assert (DOCS / docgen.SCHEMA).read_text() == docgen.schema(), "run: make docs"


@pytest.mark.parametrize("name", template_names())
def test_the_schema_takes_what_the_model_takes(name):
    schema = json.loads((DOCS / docgen.SCHEMA).read_text())
    data = yaml.safe_load(as_yaml(filled(name)))
    jsonschema.Draft202012Validator(schema).validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**data, "news": 1})


def test_a_field_below_an_enforced_section_is_named(monkeypatch):
    changed = ENFORCERS | {"limits.eventsPerMinute": f"{NOT_ENFORCED} yet: nothing wakes it"}
    monkeypatch.setattr("agency.gosuto.enforcement.ENFORCERS", changed)
    told = unenforced(document({}, limits={"eventsPerMinute": 5, "requestsPerMinute": 5}))
    assert [each.partition(" ")[0] for each in told if "limits" in each] == [
        "limits.eventsPerMinute"
    ]
    only = unenforced(document({}, limits={"requestsPerMinute": 5}))
    assert not [each for each in only if "limits" in each]
