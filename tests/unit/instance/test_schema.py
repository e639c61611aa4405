"""The JSON Schema: valid, described, and as strict for single fields as `agency check`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agency.instance.load import load_instance
from agency.instance.problems import InstanceError
from agency.instance.reading.schema import instance_schema

Write = Callable[[str], Path]
RECIPIENT = "age1" + "q" * 58
FULL: dict[str, Any] = {
    "version": 1,
    "name": "test",
    "domain": "agency.example",
    "operators": ["@alice:agency.example"],
    "services": {
        "matrix": {"enable": True, "federation": False},
        "ci": {"enable": False, "engine": "drone", "maxTests": 3},
        "k3s": {"enable": True},
    },
    "agents": {"pm": {"role": "pm", "enable": True, "uid": 5000, "port": 20001}},
    "recipes": {"hedgedoc": {"repository": "recipes/hedgedoc"}},
    "preview": ["desktop"],
    "secrets": {"provider": "sops", "recipients": {"alice": RECIPIENT}},
}
MISSING = object()
# A place, and a value that is wrong there.
WRONG: list[tuple[tuple[str | int, ...], object]] = [
    (("version",), 2),
    (("version",), "1"),
    (("name",), "Test"),
    (("name",), "a" * 31),
    (("name",), ""),
    (("name",), "a-"),
    (("name",), MISSING),
    (("domain",), "https://x.example"),
    (("domain",), ""),
    (("domain",), "localhost"),
    (("domain",), "a" * 64 + ".example"),
    (("domain",), "a." * 150 + "example"),
    (("operators",), []),
    (("operators",), "@alice:agency.example"),
    (("operators", 0), "alice"),
    (("operators", 0), "@Alice:agency.example"),
    (("operators", 0), "@al\u200bice:agency.example"),
    (("operators", 0), "@" + "a" * 250 + ":agency.example"),
    (("services", "teapot"), {"enable": True}),
    (("services", "matrix", "enable"), "yes"),
    (("services", "ci", "engine"), "jenkins"),
    (("services", "ci", "maxTests"), 65),
    (("services", "ci", "maxTests"), 0),
    (("services", "k3s", "enabled"), True),
    (("agents", "Pm"), {"role": "pm"}),
    (("agents", "a" * 26), {"role": "pm"}),
    (("agents", "pm", "role"), MISSING),
    (("agents", "pm", "role"), "P M"),
    (("agents", "pm", "uid"), 0),
    (("agents", "pm", "uid"), 30000),
    (("agents", "pm", "port"), 80),
    (("agents", "pm", "port"), 70000),
    (("recipes", "Hedgedoc"), {"repository": "recipes/hedgedoc"}),
    (("recipes", "hedgedoc", "repository"), "hedgedoc"),
    (("recipes", "hedgedoc", "repository"), "../x"),
    (("preview", 0), "teapot"),
    (("secrets", "provider"), "vault"),
    (("secrets", "recipients"), {}),
    (("secrets", "recipients"), MISSING),
    (("secrets", "recipients", "alice"), "y"),
    (("secrets", "recipients", "Alice"), RECIPIENT),
    (("secrets", "recipients", "alice"), RECIPIENT.upper()),
    (("secrets",), MISSING),
    (("colour",), "red"),
]


def changed(place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    document: Any = copy.deepcopy(FULL)
    part = document
    for key in place[:-1]:
        part = part[key]
    if value is MISSING:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return dict(document)


def check_accepts(write: Write, document: dict[str, Any]) -> bool:
    try:
        load_instance(write(yaml.safe_dump(document, allow_unicode=True)), check_recipients=False)
    except InstanceError:
        return False
    return True


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = instance_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    return jsonschema.Draft202012Validator(schema)


def test_both_accept_what_is_right(
    write: Write, good: str, validator: jsonschema.Draft202012Validator
) -> None:
    for document in (FULL, yaml.safe_load(good)):
        assert check_accepts(write, document)
        validator.validate(document)


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_both_refuse_what_is_wrong(
    write: Write,
    validator: jsonschema.Draft202012Validator,
    place: tuple[str | int, ...],
    value: object,
) -> None:
    document = changed(place, value)
    assert not check_accepts(write, document)
    assert not validator.is_valid(document)


def keys(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in part.get("properties", {}).items():
        yield f"{where}.{name}", one
    for name, definition in part.get("$defs", {}).items():
        yield from keys(definition, name)


def test_every_key_is_described() -> None:
    found = list(keys(instance_schema()))
    assert len(found) > 25
    assert [where for where, one in found if not one.get("description")] == []
