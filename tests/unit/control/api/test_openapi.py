"""The description of the interface: current, whole, and of the form that OpenAPI has."""

from __future__ import annotations

import json
from pathlib import Path

from agency.control.api import openapi
from agency.control.api.routes import ROUTES
from agency.control.commands import GRAMMAR

FILE = Path(__file__).parents[4] / "docs" / "openapi.json"


def test_the_written_description_is_current() -> None:
    assert FILE.read_text() == openapi.text(), "`make docs` writes it"


def test_every_reference_leads_somewhere_and_no_model_is_left_over() -> None:
    text = openapi.text()
    told = json.loads(text)
    for name in told["components"]["schemas"]:
        if name != "AuditRow":  # of the lines of an export, which no schema describes
            assert f'"#/components/schemas/{name}"' in text
    for reference in text.split('"$ref": "')[1:]:
        name = reference.split('"')[0].rpartition("/")[2]
        assert name in told["components"]["schemas"]


def test_every_path_but_the_open_ones_asks_for_a_token_and_a_command_of_the_grammar() -> None:
    told = openapi.description()["paths"]
    for route in ROUTES:
        made = told[route.place][route.method.lower()]
        assert ("security" in made) is not route.open
        assert ("401" in made["responses"]) is not route.open
        assert route.rule is None or route.rule in GRAMMAR.by_name
    assert {route.name for route in ROUTES if route.open} == {"health", "openapi"}
