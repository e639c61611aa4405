"""A recipe in a private repository of a real Gitea: fetched with the token, which stays nowhere."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from running_gitea import Gitea

from agency.errors import BadInputError
from agency.recipes.run.checkout import Source, fetch
from agency.secrets import SecretValue

pytestmark = pytest.mark.forge


@pytest.fixture(scope="module")
def commit(gitea_server: Gitea) -> str:
    wish = {"name": "hidden", "private": True, "auto_init": True}
    gitea_server.call("POST", "/user/repos", wish)
    content = base64.b64encode(b"version: '3.8'").decode()
    file = {"content": content, "message": "a change", "branch": "main", "new_branch": "change"}
    path = "/repos/forge-admin/hidden"
    made = gitea_server.call("POST", f"{path}/contents/compose.yml", file)
    request = {"title": "a change", "head": "change", "base": "main"}
    gitea_server.call("POST", f"{path}/pulls", request)
    return str(made["commit"]["sha"])


def test_a_private_recipe_is_fetched_with_the_token(
    gitea_server: Gitea, commit: str, tmp_path: Path
) -> None:
    url, via = f"{gitea_server.url}/forge-admin/hidden.git", "refs/pull/1/head"
    with pytest.raises(BadInputError) as caught:
        fetch(Source(url, commit, via), tmp_path / "without" / "recipe")
    assert "cannot be fetched" in str(caught.value)
    source = Source(url, commit, via, SecretValue(gitea_server.token))
    found = fetch(source, tmp_path / "with" / "recipe")
    assert found.commit == commit
    assert (found.directory / "compose.yml").exists()
    kept = [path for path in (tmp_path / "with").rglob("*") if path.is_file()]
    assert not [path for path in kept if gitea_server.token.encode() in path.read_bytes()]
    assert len(kept) > 10
    assert gitea_server.token not in repr(source)


def test_a_bad_token_is_told_without_it(gitea_server: Gitea, commit: str, tmp_path: Path) -> None:
    url = f"{gitea_server.url}/forge-admin/hidden.git"
    token = SecretValue("not-the-token-of-anybody")
    source = Source(url, commit, "refs/pull/1/head", token)
    with pytest.raises(BadInputError) as caught:
        fetch(source, tmp_path / "recipe")
    assert "not-the-token" not in str(caught.value)
    assert not (tmp_path / "git-credentials").exists()
