"""A real forge takes no push from under the contract, whatever git is asked to do without."""

import asyncio
import subprocess

import pytest
from contracts import BRANCH, COMMIT, Bench
from repositories import git

from agency.workspace.contract.repository import HOOKS

pytestmark = [
    pytest.mark.forge,
    pytest.mark.skipif(HOOKS.stat().st_uid != 0, reason="the hooks must be root's"),
]
WAYS = (
    "git push --no-verify origin HEAD",
    # All that the contract sets is taken away: what holds is that there are no credentials.
    'env -i PATH="$PATH" HOME="$HOME" GIT_TERMINAL_PROMPT=0 git push --no-verify origin HEAD',
    (
        'env -i PATH="$PATH" HOME="$HOME" GIT_TERMINAL_PROMPT=0 '
        "git -c core.hooksPath=/dev/null push --no-verify --force origin HEAD:refs/heads/main"
    ),
)


@pytest.fixture
def bench(gitea_place, tmp_path):
    """A repository of the forge, which anybody may read."""
    bench = Bench(tmp_path)
    git(bench.place, "remote", "set-url", "origin", f"{gitea_place.url}/team/app.git")
    git(bench.place, "fetch", "-q", "origin")
    git(bench.place, "reset", "-q", "--hard", "origin/main")
    return bench


def branches(gitea_server) -> dict[str, str]:
    found = gitea_server.call("GET", "/repos/team/app/branches")
    return {one["name"]: one["commit"]["id"] for one in found}


@pytest.mark.parametrize("way", WAYS)
async def test_the_forge_sees_no_push(bench, gitea_server, gitea_place, way):
    before = branches(gitea_server)
    done = await bench.work(COMMIT + way)
    assert done.commits
    assert done.status not in {0, None}
    assert branches(gitea_server) == before
    # Positive control: with a token, as the agent's tools have one, the same branch is taken.
    url = gitea_place.url.replace("http://", f"http://bot:{gitea_place.tokens['bot']}@")
    push = ["git", "-C", str(bench.place), "push", "-q", f"{url}/team/app.git", BRANCH]
    await asyncio.to_thread(subprocess.run, push, check=True)
    assert branches(gitea_server)[BRANCH] == git(bench.place, "rev-parse", BRANCH).strip()
    gitea_server.call("DELETE", f"/repos/team/app/branches/{BRANCH.replace('/', '%2F')}")
