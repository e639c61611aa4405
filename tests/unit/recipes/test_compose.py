from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import BadInputError
from agency.recipes.policy import violations
from agency.recipes.recipe.compose import pairs, read_compose, services
from agency.recipes.recipe.interpolation import interpolated
from agency.recipes.recipe.read import read_recipe, recipe_name
from agency.recipes.recipe.versions import published
from agency.recipes.recipe.yaml_lines import read_yaml

COMPOSE = """\
version: "3.8"
x-labels: &labels
  coop-cloud.${STACK_NAME}.version: "1.0.0+2"
services:
  app:
    image: wiki:${TAG:-2}
    secrets:
      - db_password
      - source: admin
        target: other
    healthcheck:
      test: ["CMD", "true"]
    deploy:
      labels:
        <<: *labels
        backupbot.backup: true
        backupbot.backup.path: /data
  db:
    image: postgres
    healthcheck:
      disable: true
    deploy:
      labels:
        - "backupbot.backup=true"
        - "backupbot.backup.pre-hook=dump --all"
  web:
    image: nginx
secrets:
  db_password:
    external: true
    name: ${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}
"""


def test_services_with_their_labels_secrets_checks_and_backups():
    known = {"STACK_NAME": "s", "SECRET_DB_PASSWORD_VERSION": "v1"}
    app, db, web = services((read_compose(COMPOSE, "compose.yml", known),))
    assert app.image == "wiki:2"
    assert app.secrets == ("db_password", "admin")
    assert (app.healthcheck, db.healthcheck, web.healthcheck) == (True, False, False)
    assert (app.backup_version, db.backup_version, web.backup_version) == (1, 2, 0)
    assert db.labels["backupbot.backup.pre-hook"] == "dump --all"


def test_a_later_file_adds_and_overrides():
    first = read_compose(COMPOSE, "compose.yml", {})
    second = read_compose(
        "services: {web: {image: other, deploy: {labels: {backupbot.backup: 'true'}}}}", "b.yml", {}
    )
    web = services((first, second))[-1]
    assert (web.image, web.backup_version) == ("other", 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A-${A}", "1-1"), ("${B:-x}", "x"), ("${E-x}", ""), ("${E:-x}", "x"), ("${B:-${A}}", "1"),
        ("$$A", "$A"), ("${A:+set}${B+set}", "set"), ("`${A}`", "`1`"),
    ],
)  # fmt: skip
def test_interpolation(text, value):
    assert interpolated(text, {"A": "1", "E": ""}, "f:1") == value


@pytest.mark.parametrize("text", ["${A", "$", "${}", "${B:?say}", "${A!x}", "${B:-" * 9 + "}" * 9])
def test_a_bad_reference_is_refused(text):
    with pytest.raises(BadInputError, match="f:1"):
        interpolated(text, {"A": "1"}, "f:1")


def test_a_bomb_of_aliases_is_refused():
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BadInputError, match="aliases expanded"):
        read_yaml("\n".join(lines), "compose.yml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: !!python/object:os.system x", 2), ("a: 1\na: 2", 2), ("a: [1", 1),
        ("a: &a\n  b: *a", 1), ("? [x]\n: 1", 1), ("a: 1\nx: &x\n  <<: *x", 2),
        ("a: 1\nx: &x [1, *x]", 2), ("a: 1\nx: &x\n  y: {<<: *x}", 2),
        ('a: 1\nb: "\\uD800"', 2), ('a: 1\n"\\uDFFF": 1', 2),
    ],
)  # fmt: skip
def test_a_bad_document_is_refused_at_its_line(text, line):
    with pytest.raises(BadInputError) as caught:
        read_yaml(text, "compose.yml")
    assert caught.value.where == f"compose.yml:{line}"


def test_merges_of_merges_are_bounded():
    """They nest no value in another, and went as deep as Python would."""

    def chain(length):
        return "\n".join(["a0: &a0 {b: 1}"] + [
            f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, length)
        ])  # fmt: skip

    assert read_yaml(chain(20), "compose.yml").data["a19"] == {"b": 1}
    with pytest.raises(BadInputError, match="nested deeper") as caught:
        read_yaml(chain(2000), "compose.yml")
    assert caught.value.where.startswith("compose.yml:")


@pytest.mark.parametrize(
    "part", ["secrets: 5", "secrets: true", "secrets: {a: b}", "deploy: {labels: 5}"]
)
def test_a_service_of_another_form_is_refused_at_its_line(part):
    read = read_compose(f"services:\n  app:\n    image: x\n    {part}\n", "compose.yml", {})
    with pytest.raises(BadInputError) as caught:
        services((read,))
    assert caught.value.where == "compose.yml:4"


KEYS = st.sampled_from([
    "services", "volumes", "networks", "secrets", "configs", "app", "image", "deploy", "labels",
    "healthcheck", "test", "disable", "external", "name", "file", "env_file", "driver", "source",
    "driver_opts", "type", "device", "o", "x-any", "include", "extends", "cap_add", "devices",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(["NONE", "host", "proxy", "$A", "${B:-/x}", "tmpfs", "a:b:c"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, ANYTHING, max_size=3), max_size=4))
def test_a_recipe_of_any_form_is_read_or_refused(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("recipe")
    write(place, env="TYPE=a\n")
    (place / "compose.yml").write_text(yaml.safe_dump(data, allow_unicode=True))
    with suppress(BadInputError):
        violations(read_recipe(place, "a", "a.test"))


def test_labels_come_as_a_list_or_as_a_mapping():
    assert pairs(["a=1", "b=x=y", "c"], "f") == {"a": "1", "b": "x=y", "c": ""}
    assert pairs({"a": 1, "b": True, "c": None}, "f") == {"a": "1", "b": "true", "c": ""}
    with pytest.raises(BadInputError):
        pairs("a=1", "f")


def test_only_tags_of_versions_are_published_and_the_latest_comes_first():
    tags = ["v1", "0.9.0+1.2", "1.10.0+2.0", "1.9.0+2.0", "main", "1.0.0"]
    assert [str(v) for v in published(tags)] == ["1.10.0+2.0", "1.9.0+2.0", "0.9.0+1.2"]


def write(place, **files):
    for name, text in files.items():
        (place / {"env": ".env.sample", "abra": "abra.sh"}.get(name, f"{name}.yml")).write_text(
            text
        )


def test_a_recipe_is_read_by_its_compose_file_variable(tmp_path):
    write(
        tmp_path,
        env='TYPE=wiki:1.0.0+2\nCOMPOSE_FILE=compose.yml\nCOMPOSE_FILE="$COMPOSE_FILE:extra.yml"\n'
        "SECRET_DB_PASSWORD_VERSION=v2\nLETS_ENCRYPT_ENV=production\n",
        abra="export CONF_VERSION=v7\n",
        compose=COMPOSE,
        extra="services: {more: {image: 'm:${CONF_VERSION}-${DOMAIN}-${LETS_ENCRYPT_ENV}'}}",
    )
    assert recipe_name(tmp_path, "x") == "wiki"
    recipe = read_recipe(tmp_path, "wiki", "w.ci.test")
    assert [s.name for s in recipe.services] == ["app", "db", "more", "web"]
    assert recipe.services[2].image == "m:v7-w.ci.test-"
    assert recipe.secrets == ("db_password",)
    assert recipe.version == "1.0.0+2"
    assert recipe.on_swarm("secrets") == {"db_password": "w_ci_test_db_password_v2"}
    assert recipe.backed_up == ("app", "db")


@pytest.mark.parametrize("named", ["../x.yml", "/etc/passwd", "sub/x.yml", "compose.yml:none.yml"])
def test_compose_files_of_elsewhere_or_nowhere_are_refused(tmp_path, named):
    write(tmp_path, env=f"TYPE=a\nCOMPOSE_FILE={named}\n", compose="services: {}")
    with pytest.raises(BadInputError):
        read_recipe(tmp_path, "a", "a.test")


def test_a_link_is_not_followed(tmp_path):
    write(tmp_path, env="TYPE=a\n")
    (tmp_path / "compose.yml").symlink_to("/etc/hostname")
    with pytest.raises(BadInputError, match="cannot read"):
        read_recipe(tmp_path, "a", "a.test")
