"""From a comment to a green commit: forge, bridge, runner, swarm and dashboard, all of them real.

abra is the stand-in of tests/recipes/abra_stand_in.py, and each run's result says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import running_gitea
from docker_engine import Engine
from network_of import network_of
from recipe_agency import STRANGER, RecipeAgency, recipe_agency
from recipe_bench import Bench

from agency.recipes.outcome import STAGES

pytestmark = [pytest.mark.forge, pytest.mark.timeout(900)]
OBSERVABILITY = Path(__file__).parents[3] / "modules/observability"
TAKEN_S = 60  # from a comment to its run, the promise of docs/recipes-server.md


@pytest.fixture
def agency(swarm: Engine, bench: Bench, tmp_path) -> Iterator[RecipeAgency]:
    if not running_gitea.PROGRAM.exists():
        if os.environ.get("AGENCY_REQUIRE_FORGE"):
            pytest.fail("Gitea is not built: python tools/gitea.py")
        pytest.skip("Gitea is not built: make test-recipes-way builds it")
    place = tmp_path / "agency"
    place.mkdir()
    # The swarm has a network of its own, and so have all who talk to its apps.
    with (
        network_of(swarm.pid),
        running_gitea.running() as gitea,
        recipe_agency(bench, gitea, place) as made,
    ):
        yield made


def run_of(agency: RecipeAgency, number: int) -> str:
    """Return the run that the bot's answer links to."""
    link = re.compile(r"https://ci\.example\.org/runs/(r[0-9a-z]{8})")
    found = agency.within(
        lambda: link.search("\n".join(agency.told(number))), "answer with a link", TAKEN_S
    )
    return str(found[1])


def asked_metrics() -> set[str]:
    """Return the metrics that the dashboard and the alerts about recipe CI ask for."""
    texts = [(OBSERVABILITY / name).read_text() for name in ("dashboards/agency-recipes.json",)]
    texts.append((OBSERVABILITY / "alerts.yml").read_text())
    return set(re.findall(r"agency_(?:recipes|bridge)_[a-z_]+", " ".join(texts)))


def shown_metrics(agency: RecipeAgency) -> set[str]:
    """Return the metrics that the programs show."""
    pages = [
        requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        for port in agency.ports.values()
    ]
    return set(re.findall(r"^agency_[a-z_]+", "\n".join(pages), flags=re.MULTILINE))


def ended(agency: RecipeAgency, commit: str) -> str:
    return str(
        agency.within(
            lambda: state if (state := agency.status(commit)) in ("success", "failure") else "",
            "verdict",
        )
    )


def test_a_maintainer_breaks_a_recipe_sees_why_and_mends_it(agency: RecipeAgency) -> None:
    bench = agency.bench
    good = bench.git("rev-parse", "HEAD")
    bench.edit("nginx.conf", "listen", "lissen")
    bench.edit("abra.sh", "NGINX_CONF_VERSION=v2", "NGINX_CONF_VERSION=v3")
    bench.commit("a slip of the pen")
    number = agency.open_request("better")
    broken = bench.git("rev-parse", "HEAD")

    agency.say(number, "!testme install", STRANGER)
    agency.say(number, "!testmexyz")
    agency.say(number, "!testme install")
    first = run_of(agency, number)
    assert ended(agency, broken) == "failure"
    agency.within(
        lambda: [one for one in agency.told(number) if first in one and "failed" in one],
        "outcome in the comment",
    )
    assert [one for one in agency.told(number) if "Only members" in one], "the stranger is told"
    page = agency.page(f"/runs/{first}").text
    assert "lissen" in page, "the line of the log that says why"
    assert agency.page(f"/runs/{first}.json").json()["state"] == "failed"

    bench.git("reset", "-q", "--hard", good)  # the request's branch begins anew
    bench.git("commit", "-q", "--allow-empty", "-m", "mend it")
    mended = agency.push("better")
    agency.say(number, "!testme")
    assert ended(agency, mended) == "success"
    assert agency.status(broken) == "failure", "each commit has its own verdict"
    second = agency.page("/recipes/static-site.json").json()
    (newest, oldest) = [one["run"] for one in second["runs"]]
    assert oldest == first, "one run for each of two orders, none for the rest"
    shown = agency.page(f"/runs/{newest}.json").json()
    stages = {one["name"]: one["outcome"] for one in shown["result"]["stages"]}
    assert set(stages) == set(STAGES)
    assert (stages["install"], stages["upgrade"], stages["backup"]) == ("pass",) * 3
    assert "passed" in agency.page("/recipes/static-site/badge.svg").text
    assert asked_metrics() - shown_metrics(agency) == set()
    assert bench.on_swarm() == [], "nothing is left"
