"""Findings of an enrolment in a recipe, and its proposals."""

import pytest

from agency.recipes.enrol.findings import find
from agency.recipes.enrol.proposals import propose, suites
from agency.recipes.recipe.read import read_recipe
from agency.recipes.recipe.versions import published

ENV = """\
TYPE=pads
DOMAIN=pads.example.org
LETS_ENCRYPT_ENV=production
COMPOSE_FILE="compose.yml"
COMPOSE_FILE="$COMPOSE_FILE:compose.db.yml"
TITLE=Pads
SECRET_DB_PASSWORD_VERSION=v1  # length=32
"""
COMPOSE = """\
services:
  app:
    image: pads:1
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:3000/_health"]}
    volumes: ["uploads:/u"]
    deploy:
      labels:
        - "traefik.enable=true"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=3000"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`, `www.${DOMAIN}`)"
        - "backupbot.backup=${ENABLE_BACKUPS:-true}"
  worker: {image: "pads:1", healthcheck: {disable: true, test: "x"}}
volumes: {uploads: }
"""
DB = """\
services:
  db:
    image: postgres:15
    secrets: [db_password]
    volumes: ["postgres:/var/lib"]
    healthcheck: {test: "pg_isready"}
    deploy: {labels: {backupbot.backup.pre-hook: "/dump.sh", backupbot.restore.post-hook: "/x"}}
volumes: {postgres: {}}
secrets: {db_password: {external: true, name: "${STACK_NAME}_db_password_v1"}}
"""


def found(place, compose=COMPOSE, db=DB, env=ENV, tags=("1.0.0+1", "0.9.0+1", "nightly")):
    for name, text in ((".env.sample", env), ("compose.yml", compose), ("compose.db.yml", db)):
        (place / name).write_text(text)
    return find(read_recipe(place, "pads", "pads.ci.example.org"), published(tags))


def test_everything_that_decides_the_tests_is_found(tmp_path):
    result = found(tmp_path)
    app, db, worker = result.services
    assert (app.name, app.image, app.backup) == ("app", "pads:1", True)
    assert app.routes[0].hosts == ("pads.ci.example.org", "www.pads.ci.example.org")
    assert (app.routes[0].port, app.routes[0].passthrough) == (3000, False)
    assert result.health_path == "/_health"
    assert (db.healthcheck, db.secrets) == ("pg_isready", ("db_password",))
    assert db.hooks == ("backupbot.backup.pre-hook", "backupbot.restore.post-hook")
    assert worker.healthcheck == ""
    assert result.volumes == ("postgres", "uploads")
    assert (result.variables, result.secrets) == (("TITLE",), ("db_password",))
    assert result.versions == ("1.0.0+1", "0.9.0+1")
    assert result.refused == ()


def test_a_host_whose_tls_is_passed_through_is_told(tmp_path):
    tcp = COMPOSE.replace("http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`, `www.${DOMAIN}`)",
                          "tcp.routers.x.rule=HostSNI(`${DOMAIN}`)")  # fmt: skip
    label = '"traefik.enable=true"'
    passed = tcp.replace(label, f'{label}\n        - "traefik.tcp.routers.x.tls.passthrough=true"')
    assert found(tmp_path, tcp).routed.routes[0].passthrough is False
    assert found(tmp_path, passed).routed.routes[0].passthrough is True


@pytest.mark.parametrize(
    ("check", "path"),
    [
        ("http://localhost:3000/live?x=1", "/live"),
        ("http://127.0.0.1:9000/other-port", "/"),
        ("https://example.org/far", "/"),
        ("pgrep pads", "/"),
    ],
)
def test_only_a_health_check_of_the_routed_port_gives_the_path(tmp_path, check, path):
    assert found(tmp_path, COMPOSE.replace("http://localhost:3000/_health", check)).health_path == (
        path
    )


def test_what_the_policy_refuses_is_found_with_its_line(tmp_path):
    bad = found(tmp_path, COMPOSE.replace("    image: pads:1", "    privileged: true"))
    assert [(one.rule, one.where) for one in bad.refused] == [("privileged", "compose.yml:3")]


@pytest.mark.parametrize(
    ("old", "new", "tags", "wanted"),
    [
        ("", "", ("1.0.0+1",), ("install", "write", "keep", "change")),
        ("backupbot.backup=${ENABLE_BACKUPS:-true}", "x=y", ("1.0.0+1",),
         ("install", "write", "keep")),
        ("", "", (), ("install", "write", "keep", "change")),
    ],
)  # fmt: skip
def test_the_suites_are_those_that_the_stages_need(tmp_path, old, new, tags, wanted):
    assert suites(found(tmp_path, COMPOSE.replace(old, new), tags=tags)) == wanted


def test_a_recipe_without_volumes_needs_no_data(tmp_path):
    bare = COMPOSE.replace('    volumes: ["uploads:/u"]\n', "").replace(
        "volumes: {uploads: }\n", ""
    )
    db = DB.replace('    volumes: ["postgres:/var/lib"]\n', "").replace(
        "volumes: {postgres: {}}", ""
    )
    proposals = propose(found(tmp_path, bare, db))
    assert [p.suite for p in proposals if p.stage in ("upgrade", "backup")] == ["", ""]
    assert all("no volume" in p.assertion for p in proposals if not p.suite)
