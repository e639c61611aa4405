"""One project with its people, at a real Gitea and at a SIMULATED GitLab.

Gitea is what set-up builds (`make test-forge`). Where it is not there, its half is skipped; with
AGENCY_REQUIRE_FORGE it fails.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import running_gitea
from running_gitea import Gitea
from simulated_gitlab import SimulatedGitlab, simulated_gitlab

from agency.forge import Forge
from agency.forge.gitea import gitea_forge
from agency.forge.gitlab import gitlab_forge

PROJECT = "team/app"
# Account, its power over the project at Gitea, and its level at GitLab.
PEOPLE = (
    ("bot", "admin", 40),
    ("maintainer", "admin", 40),
    ("developer", "write", 30),
    ("reader", "read", 20),
    ("stranger", None, 0),
)


@dataclass
class Place:
    """A forge with the project `team/app`.

    `commit` puts one on a branch and returns its hash; `label` puts a label on an issue.
    """

    kind: str
    url: str
    tokens: dict[str, str]
    commit: Callable[[str, str], str]
    label: Callable[[int, str], None]


@pytest.fixture(scope="module")
def gitea_server() -> Iterator[Gitea]:
    if not running_gitea.PROGRAM.exists():
        if os.environ.get("AGENCY_REQUIRE_FORGE"):
            pytest.fail("Gitea is not there: make test-forge")
        pytest.skip("Gitea is not there: make test-forge builds it")
    with running_gitea.running() as gitea:
        yield gitea


@pytest.fixture(scope="module")
def gitea_place(gitea_server: Gitea) -> Place:
    gitea = gitea_server
    tokens = {name: gitea.person(name) for name, _, _ in PEOPLE}
    gitea.call("POST", "/orgs", {"username": "team"})
    wish = {"name": "app", "auto_init": True, "default_branch": "main"}
    gitea.call("POST", "/orgs/team/repos", wish)
    for name, power, _ in PEOPLE:
        if power:
            path = f"/repos/team/app/collaborators/{name}"
            gitea.call("PUT", path, {"permission": power})

    wish = {"name": "core", "permission": "write", "units": ["repo.code", "repo.pulls"]}
    team = gitea.call("POST", "/orgs/team/teams", wish)["id"]
    for name in ("bot", "maintainer"):
        gitea.call("PUT", f"/teams/{team}/members/{name}")

    def commit(branch: str, text: str) -> str:
        known = {one["name"] for one in gitea.call("GET", "/repos/team/app/branches")}
        where = {"branch": branch} if branch in known else {"branch": "main", "new_branch": branch}
        path = f"/repos/team/app/contents/{text.replace(' ', '-')}.txt"
        body = {"content": base64.b64encode(text.encode()).decode(), "message": text} | where
        return str(gitea.call("POST", path, body)["commit"]["sha"])

    def label(issue: int, name: str) -> None:
        known = {one["name"]: one["id"] for one in gitea.call("GET", "/repos/team/app/labels")}
        if name not in known:
            made = gitea.call("POST", "/repos/team/app/labels", {"name": name, "color": "#aabbcc"})
            known[name] = made["id"]
        path = f"/repos/team/app/issues/{issue}/labels"
        gitea.call("POST", path, {"labels": [known[name]]})

    return Place("gitea", gitea.url, tokens, commit, label)


@pytest.fixture(scope="module")
def gitlab_place() -> Iterator[Place]:
    with simulated_gitlab() as lab:
        made = _people(lab)

        def label(issue: int, name: str) -> None:
            next(one for one in lab.issues if one["iid"] == issue)["labels"].append(name)

        yield Place("gitlab", lab.url, made, lab.commit, label)


def _people(lab: SimulatedGitlab) -> dict[str, str]:
    for number, (name, _, level) in enumerate(PEOPLE, 10):
        lab.accounts[name] = (number, level, f"token-of-{name}")
    return {name: token for name, (_, _, token) in lab.accounts.items()}


@pytest.fixture(params=["gitlab", pytest.param("gitea", marks=pytest.mark.forge)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture
async def as_whom(place: Place) -> AsyncIterator[Callable[[str], object]]:
    """Opens the forge as one of its people."""
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Forge:
            make = gitea_forge if place.kind == "gitea" else gitlab_forge
            return await stack.enter_async_context(make(place.url, place.tokens[name]))

        yield opened


@pytest.fixture
async def bot(as_whom: Callable[[str], object]) -> Forge:
    return await as_whom("bot")  # type: ignore[misc, return-value]
