"""`agency recipes enrol`, `list`, `drop` and `check` on a real instance and real repositories."""

import json
import subprocess

import pytest
from click.testing import CliRunner

from agency import cli
from agency.instance import check_rendered, load_instance

INSTANCE = """\
version: 1
name: example
domain: agency.example
operators: ["@alice:agency.example"]  # one is enough
secrets: {provider: ephemeral}
"""
COMPOSE = """\
services:
  app:
    image: pads:1
    volumes: ["data:/data"]
    deploy:
      labels:
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)"
        - "backupbot.backup=true"
volumes: {data: {}}
"""
INSTALL = "def test_it(app):\n    assert app.get('/').status == 200\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An instance, and a recipe in a repository of a forge that is a directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance" / "instance.yaml").write_text(INSTANCE)
    recipe = tmp_path / "forge" / "recipes" / "pads.git"
    recipe.mkdir(parents=True)
    (recipe / ".env.sample").write_text("TYPE=pads\nDOMAIN=pads.example.org\n")
    (recipe / "compose.yml").write_text(COMPOSE)
    git(recipe, "init", "-q", "-b", "main")
    commit(recipe)
    return tmp_path


def git(recipe, *words):
    names = ("-c", "user.name=t", "-c", "user.email=t@t")
    subprocess.run(["git", *names, "-C", str(recipe), *words], check=True, capture_output=True)


def commit(recipe):
    git(recipe, "add", "-A")
    git(recipe, "commit", "-q", "-m", "x")


class Said:
    def __init__(self, status, out, error):
        self.status, self.out, self.error = status, out, error

    @property
    def data(self):
        return json.loads(self.out)


def run(*words):
    capture = CliRunner()
    with capture.isolation() as (out, error, *_):
        status = cli.run(cli.cli, ["recipes", *words], prog_name="agency")
        return Said(status, out.getvalue().decode(), error.getvalue().decode())


def enrol(place, *words):
    source = place / "forge" / "recipes" / "pads.git"
    return run("enrol", "pads", f"--from={source}", *words)


def suites_of(place):
    return place / "instance" / "tests" / "recipes" / "pads"


def check(place, *words):
    return run("check", f"--forge=file://{place}/forge", *words)


def fill_in(place):
    for path in suites_of(place).glob("test_*.py"):
        path.write_text(INSTALL)


def test_a_recipe_is_enrolled_once_and_nothing_is_overwritten(place):
    first = enrol(place, "--repository=recipes/pads", "--json")
    assert (first.status, first.data["written"]) == (0, True), first.error
    assert "test_change.py" in first.data["files"]
    text = (place / "instance" / "instance.yaml").read_text()
    assert text == INSTANCE + "\nrecipes:\n  pads:\n    repository: recipes/pads\n"
    assert check_rendered(load_instance(place / "instance")) == ()
    mine = suites_of(place) / "test_install.py"
    mine.write_text(INSTALL)
    (suites_of(place) / "test_keep.py").unlink()
    again = enrol(place, "--json")
    assert (again.status, again.data["files"]) == (0, ["test_keep.py"])
    assert mine.read_text() == INSTALL
    third = enrol(place, "--json")
    assert (third.data["written"], third.data["files"], third.data["instance"]) == (False, [], [])
    assert (place / "instance" / "instance.yaml").read_text() == text


def test_it_says_what_it_found_and_what_it_proposes(place):
    said = enrol(place, "--repository=recipes/pads").out
    for part in ("service app: pads:1", "pads.ci.agency.example", "volumes: data", "to fill in"):
        assert part in said


def test_a_dry_run_shows_the_plan_and_writes_nothing(place):
    said = enrol(place, "--repository=recipes/pads", "--dry-run", "--json")
    assert (said.status, said.data["written"]) == (0, False)
    assert said.data["instance"][-1] == "+    repository: recipes/pads"
    assert [p.name for p in (place / "instance").iterdir()] == ["instance.yaml"]
    assert (place / "instance" / "instance.yaml").read_text() == INSTANCE


def test_what_the_policy_refuses_is_told_with_its_line_and_not_enrolled(place):
    compose = place / "forge" / "recipes" / "pads.git" / "compose.yml"
    compose.write_text(COMPOSE.replace("image: pads:1", "privileged: true"))
    said = enrol(place, "--repository=recipes/pads")
    assert (said.status, "compose.yml:3: privileged" in said.out) == (1, True)
    assert (place / "instance" / "instance.yaml").read_text() == INSTANCE
    assert not suites_of(place).exists()


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (
            ("enrol", "other", "--from=forge/recipes/pads.git", "--repository=a/b"),
            1,
            "is pads, not",
        ),
        (("enrol", "pads", "--from=forge/recipes/pads.git"), 2, "--repository OWNER/pads"),
        (("enrol", "pads", "--from=forge/recipes/pads.git", "--repository=pads"), 1, "owner/name"),
        (("enrol", "pads", "--from=/nowhere", "--repository=a/b"), 2, "no directory"),
        (("enrol", "../x", "--from=forge/recipes/pads.git", "--repository=a/b"), 2, "not the name"),
        (("enrol", "pads", "--from=forge/recipes/pads.git@none", "--repository=a/b"), 1, "fetched"),
        (("drop", "pads"), 1, "not enrolled"),
        (("check", "pads", "--offline"), 1, "not enrolled"),
    ],
)
def test_what_cannot_be_enrolled_is_refused_and_nothing_changes(place, words, status, reason):
    said = run(*words)
    assert (said.status, reason in said.error) == (status, True), said.error
    assert (place / "instance" / "instance.yaml").read_text() == INSTANCE
    assert not (place / "instance" / "tests").exists()


def test_another_repository_or_a_link_in_the_way_is_refused(place):
    enrol(place, "--repository=recipes/pads")
    other = enrol(place, "--repository=others/pads")
    assert (other.status, "recipes/pads" in other.error) == (1, True)
    run("drop", "pads", "--tests")
    (place / "instance" / "tests" / "recipes" / "pads").symlink_to(place / "forge")
    linked = enrol(place, "--repository=recipes/pads")
    assert (linked.status, "symbolic link" in linked.error) == (1, True)


def test_the_owner_of_all_others_is_taken(place):
    enrol(place, "--repository=coop/pads")
    wiki = place / "wiki"
    wiki.mkdir()
    (wiki / ".env.sample").write_text("TYPE=wiki\nDOMAIN=wiki.example.org\n")
    (wiki / "compose.yml").write_text(COMPOSE)
    assert run("enrol", "wiki").status == 0  # from ./wiki
    listed = {one["recipe"]: one for one in run("list", "--json").data}
    assert listed["wiki"]["repository"] == "coop/wiki"
    assert listed["wiki"]["suites"] == ["install", "write", "keep", "change"]
    assert "pads  coop/pads  install write keep change, 4 to fill in" in run("list").out


def test_a_drop_keeps_the_tests_unless_it_is_told(place):
    enrol(place, "--repository=recipes/pads")
    dry = run("drop", "pads", "--tests", "--dry-run", "--json").data
    assert (dry["written"], dry["removed"]) == (False, "instance/tests/recipes/pads")
    assert suites_of(place).is_dir()
    assert run("drop", "pads").status == 0
    assert run("list", "--json").data == []
    assert suites_of(place).is_dir()
    enrol(place, "--repository=recipes/pads")
    assert run("drop", "pads", "--tests").status == 0
    assert not suites_of(place).exists()


def test_a_check_is_green_only_when_all_fits(place):
    enrol(place, "--repository=recipes/pads")
    unfilled = check(place, "--json")
    assert unfilled.status == 1
    assert sum("not filled in" in one for one in unfilled.data["recipes"][0]["problems"]) == 4
    fill_in(place)
    good = check(place, "--json")
    assert (good.status, good.data["ok"]) == (0, True), good.out
    assert len(good.data["recipes"][0]["commit"]) == 40
    assert run("check", "--offline").status == 0


def _no_label(place):
    edit(place, "backupbot.backup=true", "x=y")


def _privileged(place):
    edit(place, "image: pads:1", "privileged: true")


def _no_router(place):
    edit(place, "Host(`${DOMAIN}`)", "PathPrefix(`/`)")


def edit(place, old, new):
    compose = place / "forge" / "recipes" / "pads.git" / "compose.yml"
    assert old in compose.read_text()
    compose.write_text(compose.read_text().replace(old, new))
    commit(compose.parent)


def _gone(place):
    (place / "forge" / "recipes" / "pads.git").rename(place / "elsewhere")


def _other(place):
    (place / "forge" / "recipes" / "pads.git" / ".env.sample").write_text("TYPE=wiki\n")
    commit(place / "forge" / "recipes" / "pads.git")


UNFIT = {
    "a suite is missing": (
        lambda place: (suites_of(place) / "test_keep.py").unlink(), "test_keep.py is missing"),
    "no tests": (lambda place: suites_of(place).rename(place / "gone"), "no such directory"),
    "no backup label any more": (_no_label, "test_change.py never runs"),
    "refused by the policy": (_privileged, "compose.yml:3: refused by the policy (privileged)"),
    "nothing leads to the app": (_no_router, "no service has a Traefik router"),
    "the repository is gone": (_gone, "cannot be fetched"),
    "another recipe": (_other, "the recipe there is wiki, not pads"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNFIT)
def test_a_check_says_what_does_not_fit_any_more(place, kind):
    change, reason = UNFIT[kind]
    enrol(place, "--repository=recipes/pads")
    fill_in(place)
    assert check(place).status == 0
    change(place)
    said = check(place)
    assert (said.status, reason in said.out) == (1, True), said.out


def test_a_check_without_a_forge_asks_for_it(place):
    enrol(place, "--repository=recipes/pads")
    said = run("check")
    assert (said.status, "--forge" in said.error) == (2, True)
