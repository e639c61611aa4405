"""Overlay of the tests: its reason, its place among the compose files, and what it may not hide."""

import subprocess

import pytest

from agency.errors import BadInputError
from agency.recipes.policy import violations
from agency.recipes.recipe.environment import read_environment, values
from agency.recipes.recipe.overlay import read_overlay
from agency.recipes.recipe.read import read_recipe
from agency.recipes.run.checkout import fetch, parse_source

WHY = "# abra takes no variable for start_period,\n# and slow hosts need ten minutes\n"
COMPOSE = "services:\n  app:\n    image: nginx\n"
SAMPLE = 'TYPE=wiki\nCOMPOSE_FILE="compose.yml"\nCOMPOSE_FILE="$COMPOSE_FILE:compose.db.yml"\n'


@pytest.fixture
def recipe(tmp_path):
    place = tmp_path / "recipe"
    place.mkdir()
    (place / ".env.sample").write_text(SAMPLE)
    (place / "compose.yml").write_text(COMPOSE)
    (place / "compose.db.yml").write_text("services:\n  db: {image: postgres}\n")
    return place


def overlaid(place, text):
    (place.parent / "compose.ccci.yml").write_text(text)
    return read_recipe(place, "wiki", "w.test", read_overlay(place.parent))


def test_it_is_the_last_compose_file_and_its_reason_is_told(recipe):
    read = overlaid(recipe, WHY + "services:\n  app:\n    healthcheck: {start_period: 10m}\n")
    assert [file.document.file for file in read.compose] == [
        "compose.yml", "compose.db.yml", "compose.ccci.yml",
    ]  # fmt: skip
    named = values(read_environment(read.environment))["COMPOSE_FILE"]
    assert named == "compose.yml:compose.db.yml:compose.ccci.yml"
    assert violations(read) == ()
    assert read.overlay.why == (
        "abra takes no variable for start_period, and slow hosts need ten minutes"
    )


def test_without_one_nothing_differs(recipe):
    assert read_overlay(None) is read_overlay(recipe) is None
    assert "ccci" not in read_recipe(recipe, "wiki", "w.test").environment


@pytest.mark.parametrize(
    "header", ["", "#\n", "# why not\n", "\n\nservices: {}\n# later, at length\n"]
)
def test_one_without_a_reason_is_refused(recipe, header):
    with pytest.raises(BadInputError, match="must say in its first comment why") as caught:
        overlaid(recipe, header + COMPOSE)
    assert caught.value.where.endswith("compose.ccci.yml:1")


@pytest.mark.parametrize(
    ("part", "rule"),
    [
        ("image: another", "overlay-hides"),
        ("build: .", "overlay-hides"),
        ("healthcheck: {disable: true}", "overlay-hides"),
        ("healthcheck: {disable: 'true'}", "overlay-hides"),
        ("healthcheck: {test: [NONE]}", "overlay-hides"),
        ("healthcheck: {test: NONE}", "overlay-hides"),
        ('healthcheck: {test: ["NONE", "x"]}', "overlay-hides"),
        ("privileged: true", "privileged"),
        ("volumes: ['/:/host']", "bind-mount"),
    ],
)
def test_it_goes_through_the_policy_and_hides_nothing_of_the_recipe(recipe, part, rule):
    found = violations(overlaid(recipe, f"{WHY}services:\n  app:\n    {part}\n"))
    assert [one.rule for one in found] == [rule]
    assert found[0].where.startswith("compose.ccci.yml:")


@pytest.mark.parametrize("part", ["{start_period: 10m}", "{disable: false, retries: 9}"])
def test_it_may_give_a_health_check_more_time(recipe, part):
    assert violations(overlaid(recipe, f"{WHY}services:\n  app:\n    healthcheck: {part}\n")) == ()


def test_git_overlooks_it_and_a_file_of_the_recipe_is_never_replaced(recipe, tmp_path):
    checkout = fetch(parse_source(str(recipe)), tmp_path / "checkout")
    checkout.reserve("compose.ccci.yml")
    checkout.put("compose.ccci.yml", "x")
    told = subprocess.run(
        ["git", "-C", str(checkout.directory), "status", "--porcelain"],
        capture_output=True,
        check=True,
    )
    assert told.stdout == b""
    with pytest.raises(BadInputError, match=r"a file compose\.ccci\.yml of its own"):
        checkout.reserve("compose.ccci.yml")
