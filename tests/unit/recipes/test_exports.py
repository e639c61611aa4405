"""Exports of abra.sh: what is examined is what abra deploys with, or the recipe is refused."""

import pytest

from agency.recipes.policy import violations
from agency.recipes.recipe.exports import exported, read_exports
from agency.recipes.recipe.read import read_recipe

USUAL = """\
#!/bin/bash
export NGINX_CONF_VERSION=v3
export ENTRYPOINT_VERSION=2.1_b-c\r

migrate() {
    export DATABASE_PASSWORD=$(cat /run/secrets/db_password)
    export URL="postgres://x:${DATABASE_PASSWORD}@${STACK_NAME}_db:5432/x"
    VALUE=1; run "$DOMAIN"
}
"""
COMPOSE = """\
services:
  app:
    image: x:${NGINX_CONF_VERSION}
    volumes: ["${SRC:-data}:/data"]
volumes: {data: {}}
"""


def recipe(place, abra, sample="TYPE=a\n"):
    (place / ".env.sample").write_text(sample)
    (place / "abra.sh").write_bytes(abra.encode())
    (place / "compose.yml").write_text(COMPOSE)
    return read_recipe(place, "a", "a.ci.test")


def test_what_recipes_export_is_read_and_nothing_is_run(tmp_path):
    read = recipe(tmp_path, USUAL)
    assert exported(read.exports) == {
        "NGINX_CONF_VERSION": "v3",
        "ENTRYPOINT_VERSION": "2.1_b-c",
    }
    assert read.services[0].image == "x:v3"
    assert violations(read) == ()


@pytest.mark.parametrize(
    "line",
    [
        "export SRC=/etc",
        'export SRC="data"',
        "export SRC='/etc'",
        "export SRC=$(cat /etc/hostname)",
        "export SRC=data # a comment, which abra takes with it",
        "export SRC=data ",
        "export OTHER=x SRC=/etc",
        "export  SRC=data",
        "export\tSRC=data",
        "export UNUSED=/etc",
        "  export SRC=data",
        "\texport OTHER=x; export SRC=/etc",
        "  export COMPOSE_FILE=compose.evil.yml",
    ],
)
def test_a_line_that_abra_may_read_otherwise_is_refused_with_its_number(tmp_path, line):
    found = violations(recipe(tmp_path, f"#!/bin/sh\n{line}\n"))
    assert [(one.rule, one.where) for one in found] == [("abra-sh", "abra.sh:2")]
    assert "export NAME=value" in found[0].message


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("export COMPOSE_FILE=compose.evil.yml", "COMPOSE_FILE"),
        ("export STACK_NAME=traefik_ci_test", "STACK_NAME"),
        ("export DOMAIN=other", "DOMAIN"),
        ("export TYPE=other", "TYPE"),
        ("export TITLE=other", "TITLE"),
    ],
)
def test_a_name_that_something_else_sets_too_is_refused(tmp_path, line, name):
    found = violations(recipe(tmp_path, f"{line}\n", "TYPE=a\nTITLE=mine\n"))
    assert [(one.rule, one.where) for one in found] == [("abra-sh", "abra.sh:1")]
    assert found[0].message == f"exports {name}, which .env.sample or the run sets"


def test_only_a_line_feed_ends_a_line_as_for_abra():
    (one,) = read_exports("true\x0bexport A=1\u2028export B=1\nexport C=1\x0c")
    assert (one.value, one.line) == (None, 2)


def test_the_sample_does_not_name_the_stack(tmp_path):
    found = violations(recipe(tmp_path, "", "TYPE=a\nSTACK_NAME=traefik_ci_test\n"))
    assert [(one.rule, one.where) for one in found] == [("stack-name", ".env.sample:2")]
    assert violations(recipe(tmp_path, "", "TYPE=a\nSTACK_NAME=a_ci_test\n")) == ()
