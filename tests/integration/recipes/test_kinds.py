"""Recipes of further kinds with their real programs, from a comment to a green commit; and broken.

All are ordered at once at one forge and run two at a time on one swarm, through the same Traefik.
Each is a directory below tests/recipes with its images; product and harness know none of them. abra
is the stand-in of tests/recipes/abra_stand_in.py, and each run's page says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker_engine import Engine
from network_of import network_of
from recipe_agency import RecipeAgency, recipe_agency
from recipe_bench import Bench, on_swarm
from recipe_kinds import KINDS, make_image
from recipe_proxy import ZONE, app_authority, end_tls_in_app
from running_gitea import Gitea

from agency.recipes.outcome import STAGES

pytestmark = pytest.mark.thorough
PASSTHROUGH = "tls-passthrough"
NAMES = (*KINDS, PASSTHROUGH)
# It was never published and keeps nothing, and its page says so; all else passes.
SKIPPED = {PASSTHROUGH: {"upgrade", "backup", "custom"}}
ALL_TAKE_S = 1200
_STAGE = re.compile(r'<h3>(\w+) <span class="state of-(\w+)">')


@pytest.fixture(scope="module")
def agency(
    swarm: Engine, gitea: Gitea, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RecipeAgency]:
    place = tmp_path_factory.mktemp("agency")
    benches = []
    for name in NAMES:
        for image in KINDS.get(name, ()):
            make_image(swarm, image)
        bench = Bench(swarm, place / "clones", name)
        bench.make_repository()
        if name == PASSTHROUGH:
            end_tls_in_app(swarm, bench.recipe)
            bench.commit("its certificate")
        benches.append(bench)
    # This file has the authority of the proxy, and that of the app which ends TLS itself.
    authorities = app_authority(swarm)
    with network_of(swarm.pid), recipe_agency(gitea, place, benches, authorities) as made:
        yield made
    assert on_swarm(swarm) == []


@pytest.fixture(scope="module")
def ordered(agency: RecipeAgency) -> dict[str, tuple[int, str]]:
    """The pull request of each recipe and its commit; `!testme` was said on all of them."""
    found = {}
    for name, repository in agency.repositories.items():
        bench = repository.bench
        (bench.recipe / "CHANGES.md").write_text("A change that breaks nothing.\n")
        bench.commit("say what changed")
        found[name] = (repository.open_request("better"), bench.git("rev-parse", "HEAD"))
    for name, (number, _) in found.items():
        agency.repositories[name].say(number, "!testme")
    return found


@pytest.mark.forge
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", NAMES)
def test_a_comment_deploys_it_tests_it_and_tells(
    agency: RecipeAgency, ordered: dict[str, tuple[int, str]], name: str
) -> None:
    repository, (number, commit) = agency.repositories[name], ordered[name]
    run = repository.run_of(number)
    state = repository.ended(commit, ALL_TAKE_S)
    shown = agency.page(f"/runs/{run}.json").json()
    assert state == "success", shown
    agency.within(
        lambda: [one for one in repository.told(number) if run in one and "passed" in one],
        "outcome in the comment",
        30,
    )
    expected = {one: "skip" if one in SKIPPED.get(name, ()) else "pass" for one in STAGES}
    result = shown["result"]
    assert (shown["state"], shown["recipe"], result["commit"]) == ("passed", name, commit)
    assert {one["name"]: one["outcome"] for one in result["stages"]} == expected
    assert all(one["reason"] for one in result["stages"] if one["outcome"] == "skip")
    if name in KINDS:
        notes = {one["name"]: one["notes"] for one in result["stages"]}
        assert f"from {repository.bench.published}" in notes["upgrade"]
    assert result["domain"] == f"{name}-pr-{number}-{run}.{ZONE}"
    assert result["teardown"] == {"clean": True, "kept": False, "swept": [], "left": []}
    page = agency.page(f"/runs/{run}")
    assert page.status_code == 200
    assert dict(_STAGE.findall(page.text)) == {**expected, "teardown": "pass"}
    assert "STAND-IN" in page.text, "what deployed it is told"
    assert [one["run"] for one in agency.page(f"/recipes/{name}.json").json()["runs"]] == [run]
    assert "passed" in agency.page(f"/recipes/{name}/badge.svg").text
    assert [one for one in on_swarm(agency.engine) if run in one] == []


@pytest.fixture
def bench_of(swarm: Engine, tmp_path: Path) -> Callable[[str], Bench]:
    def bench_of(name: str) -> Bench:
        for image in KINDS[name]:
            make_image(swarm, image)
        bench = Bench(swarm, tmp_path, name)
        bench.set_up()
        return bench

    return bench_of


_NO_DOCUMENTS = '        - "backupbot.backup.volumes.documents=false"'
# A change that a maintainer could propose, the stage that must be red, and why it is.
BROKEN = {
    "the dump is not loaded": (
        ("records", "compose.postgres.yml"),
        ('        backupbot.restore.post-hook: "/pg_backup.sh restore"\n', ""),
        ("backup", "test_the_record_is_there"),
    ),
    "a volume is left out of the backup": (
        ("task-queue", "compose.yml"),
        ("=true\"\n  worker:", "=true\"\n" + _NO_DOCUMENTS + "\n  worker:"),
        ("backup", "test_the_worker_still_has_the_document"),
    ),
    "an upgrade has another volume": (
        ("object-store", "compose.yml"),
        ("objects:", "things:"),
        ("upgrade", "test_every_byte_of_the_large_object_is_there"),
    ),
    "the client lets everybody in": (
        ("single-sign-on", "proxy.sh"),
        ("'^/(login|", "'^/(wiki|login|"),
        ("install", "test_a_stranger_is_sent_to_the_provider"),
    ),
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_change_that_breaks_a_recipe_is_red_and_says_why(
    bench_of: Callable[[str], Bench], kind: str
) -> None:
    (name, file), (old, new), (stage, reason) = BROKEN[kind]
    bench = bench_of(name)
    bench.edit(file, old, new)
    ended = bench.try_("--json", f"--stage={stage}", within_s=280)
    assert (ended.status, ended.stage(stage)["outcome"]) == (1, "fail"), bench.logs()
    assert reason in ended.stage(stage)["reason"]
    assert (bench.on_swarm(), bench.private()) == ([], [])
