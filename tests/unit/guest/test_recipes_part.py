"""Part `recipes` of a profile: what it demands and brings, and what it adds to the instance."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.instance.load import load_instance
from agency.instance.needs import required_secrets
from agency.secrets.examination.forms import faults
from agency.spinup.targets.incus.parts.edge.part import EdgePart
from agency.spinup.targets.incus.parts.recipes import SERVICES, RecipesPart, moved
from agency.spinup.targets.incus.secrets import RunSecrets
from agency.transcript import is_abra

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "instance"
RECIPE = ROOT / "tests/recipes/traefik/recipe/compose.yml"


@pytest.fixture
def supplies(tmp_path: Path) -> Path:
    for name in ("abra/bin/abra", "traefik/compose.yml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_it_demands_what_a_guest_cannot_fetch(supplies: Path) -> None:
    part = RecipesPart()
    with pytest.raises(PrerequisiteError) as raised:
        part.refuse_lacking()
    assert raised.value.where == "--supplies"
    part.supplies = supplies
    part.refuse_lacking()


@pytest.mark.parametrize("name", ["abra/bin/abra", "traefik/compose.yml"])
def test_each_of_it(name: str, supplies: Path) -> None:
    part = RecipesPart()
    part.supplies = supplies
    (supplies / name).unlink()
    with pytest.raises(PrerequisiteError, match="is not there") as raised:
        part.refuse_lacking()
    assert raised.value.where == str(supplies / name)


def test_the_recipe_s_ports_are_those_behind_the_edge() -> None:
    text = moved(RECIPE.read_text(), "compose.yml")
    assert "{target: 80, published: 8080, mode: host}" in text
    assert "{target: 443, published: 8443, mode: host}" in text
    real = "ports:\n  - target: 80\n    published: 80\n  - target: 443\n    published: 443\n"
    assert moved(real, "compose.yml").count("published: 8") == 2


@pytest.mark.parametrize(
    "text",
    ["", "published: 80\n", "published: 80\npublished: 80\npublished: 443\n", "- 80:80\n- 443:443"],
)
def test_a_recipe_that_publishes_otherwise_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="not known here") as raised:
        moved(text, "compose.yml")
    assert raised.value.where == "compose.yml"


@pytest.mark.parametrize(
    ("said", "real"),
    [
        ("abra version 0.10.1-beta-3a8b1c2", True),
        ("abra version 0.11.0 (3a8b1c2)", True),
        ("abra STAND-IN of the tests, not abra", False),
        ("abra version", False),
        ("", False),
    ],
)
def test_what_does_not_call_itself_abra_is_a_stand_in(said: str, real: bool) -> None:
    assert is_abra(said) is real


def test_the_run_s_instance_tests_recipes(tmp_path: Path) -> None:
    part = RecipesPart()
    run = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run", [part])
    services = run.loaded.instance.services
    assert [getattr(services, name).enable for name in SERVICES] == [True] * len(SERVICES)
    specs = {spec.name: spec for spec in required_secrets(run.loaded.instance)}
    given: dict[str, Any] = dict(part.secrets(run.loaded.instance))
    assert given["forge-bot-token"].reveal() != run.get("forge-bot-token").reveal()
    assert [one for one in faults(specs, given, datetime.now(UTC)) if one.fatal] == []


def test_with_the_edge_there_is_one_certificate(tmp_path: Path) -> None:
    """The edge's, which its probes and people's clients know."""
    edge = EdgePart()
    run = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run", [edge, RecipesPart()])
    assert run.get("wildcard-certificate").reveal().strip() == edge.certificates.chain.strip()
    key = run.get("wildcard-certificate-key").reveal().strip()
    assert key == edge.certificates.key.strip()
