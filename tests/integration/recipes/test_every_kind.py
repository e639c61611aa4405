"""Every further kind of recipe from a comment to a green commit, at one forge and on one swarm.

All are ordered at once and two run at a time, through the same Traefik. abra is the stand-in of
tests/recipes/abra_stand_in.py, and each run's page says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from docker_engine import Engine
from network_of import network_of
from recipe_agency import RecipeAgency, recipe_agency
from recipe_bench import Bench, on_swarm
from recipe_kinds import KINDS, make_image
from recipe_proxy import ZONE, app_authority, end_tls_in_app
from running_gitea import Gitea

from agency.recipes.outcome import STAGES

pytestmark = [pytest.mark.forge, pytest.mark.thorough, pytest.mark.timeout(1500)]
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
    assert result["domain"] == f"{name}-pr-{number}-{run}.{ZONE}"
    assert result["teardown"] == {"clean": True, "kept": False, "swept": [], "left": []}
    page = agency.page(f"/runs/{run}")
    assert page.status_code == 200
    assert dict(_STAGE.findall(page.text)) == {**expected, "teardown": "pass"}
    assert "STAND-IN" in page.text, "what deployed it is told"
    assert [one["run"] for one in agency.page(f"/recipes/{name}.json").json()["runs"]] == [run]
    assert "passed" in agency.page(f"/recipes/{name}/badge.svg").text
    assert [one for one in on_swarm(agency.engine) if run in one] == []
