"""From a comment to a green commit: forge, bridge, runner, swarm and dashboard, all of them real.

abra is the stand-in of tests/recipes/abra_stand_in.py, and each run's result says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker_engine import Engine
from network_of import network_of
from recipe_agency import STRANGER, RecipeAgency, recipe_agency
from recipe_bench import Bench
from running_gitea import Gitea

from agency.recipes.outcome import STAGES

pytestmark = [pytest.mark.forge, pytest.mark.timeout(900)]
OBSERVABILITY = Path(__file__).parents[3] / "modules/observability"


@pytest.fixture
def agency(swarm: Engine, gitea: Gitea, bench: Bench, tmp_path: Path) -> Iterator[RecipeAgency]:
    place = tmp_path / "agency"
    place.mkdir()
    # The swarm has a network of its own, and so have all who talk to its apps.
    with network_of(swarm.pid), recipe_agency(gitea, place, [bench]) as made:
        yield made


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


def test_a_maintainer_breaks_a_recipe_sees_why_and_mends_it(agency: RecipeAgency) -> None:
    site = agency.repositories["static-site"]
    bench = site.bench
    good = bench.git("rev-parse", "HEAD")
    bench.edit("nginx.conf", "listen", "lissen")
    bench.edit("abra.sh", "NGINX_CONF_VERSION=v2", "NGINX_CONF_VERSION=v3")
    bench.commit("a slip of the pen")
    number = site.open_request("better")
    broken = bench.git("rev-parse", "HEAD")

    site.say(number, "!testme install", STRANGER)
    site.say(number, "!testmexyz")
    site.say(number, "!testme install")
    first = site.run_of(number)
    assert site.ended(broken) == "failure"
    agency.within(
        lambda: [one for one in site.told(number) if first in one and "failed" in one],
        "outcome in the comment",
    )
    assert [one for one in site.told(number) if "Only members" in one], "the stranger is told"
    page = agency.page(f"/runs/{first}").text
    assert "lissen" in page, "the line of the log that says why"
    assert agency.page(f"/runs/{first}.json").json()["state"] == "failed"

    bench.git("reset", "-q", "--hard", good)  # the request's branch begins anew
    bench.git("commit", "-q", "--allow-empty", "-m", "mend it")
    mended = site.push("better")
    site.say(number, "!testme")
    assert site.ended(mended) == "success"
    assert site.status(broken) == "failure", "each commit has its own verdict"
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
