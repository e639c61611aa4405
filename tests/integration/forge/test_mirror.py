"""`agency recipes mirror` with a person's token at a real Gitea."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from running_gitea import Gitea

from agency import cli

pytestmark = pytest.mark.forge


class Said:
    def __init__(self, status: int, out: str, error: str) -> None:
        self.status, self.out, self.error = status, out, error

    @property
    def data(self):
        return json.loads(self.out)


class Desk:
    """A person with a token, and the upstream repository of a recipe with a clone of it."""

    def __init__(self, gitea: Gitea, place: Path, token: str) -> None:
        self.gitea, self.place, self.token = gitea, place, token
        self.upstream, self.clone = place / "upstream", place / "clone"
        self.file = place / "token"
        self.file.write_text(f"{token}\n")
        self.file.chmod(0o600)
        self.upstream.mkdir()
        self.git(self.upstream, "init", "-q", "-b", "main")
        self.commit(self.upstream, "first")
        self.git(self.upstream, "tag", "1.0.0+1")
        subprocess.run(["git", "clone", "-q", self.upstream, self.clone], check=True)

    def git(self, where: Path, *words: str) -> str:
        names = ("-c", "user.name=t", "-c", "user.email=t@t")
        argv = ["git", *names, "-C", str(where), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, where: Path, name: str) -> str:
        (where / name).write_text(name)
        self.git(where, "add", "-A")
        self.git(where, "commit", "-q", "-m", f"add {name}")
        return self.git(where, "rev-parse", "HEAD")

    def propose(self, branch: str = "better") -> str:
        self.git(self.clone, "checkout", "-q", "-b", branch)
        return self.commit(self.clone, f"of-{branch}")

    def mirror(self, *words: str, name: str = "pads") -> Said:
        capture = CliRunner()
        argv = ["recipes", "mirror", name, f"--forge={self.gitea.url}", "--json"]
        options = [f"--token-file={self.file}", f"--upstream={self.upstream.as_uri()}"]
        with capture.isolation() as (out, error, *_):
            status = cli.run(cli.cli, [*argv, *options, *words], prog_name="agency")
            said = Said(status, out.getvalue().decode(), error.getvalue().decode())
        assert self.token not in said.out + said.error
        return said

    def main_of(self, path: str) -> str:
        return str(self.gitea.call("GET", f"/repos/{path}/branches/main")["commit"]["id"])


@pytest.fixture(scope="module")
def member(gitea_server: Gitea) -> str:
    token = gitea_server.person("trav")
    gitea_server.call("POST", "/orgs", {"username": "coop"})
    teams = gitea_server.call("GET", "/orgs/coop/teams")
    gitea_server.call("PUT", f"/teams/{teams[0]['id']}/members/trav")
    return token


@pytest.fixture
def desk(gitea_server: Gitea, member: str, tmp_path: Path) -> Desk:
    return Desk(gitea_server, tmp_path, member)


def test_a_mirror_is_made_and_kept_with_its_merge_request(desk: Desk) -> None:
    proposed = desk.propose()
    words = ("--repository=coop/pads", f"--change={desk.clone}@better")
    made = desk.mirror(*words)
    assert made.status == 0, made.error
    assert (made.data["created"], made.data["tags"]) == (True, 1)
    assert desk.gitea.call("GET", "/repos/coop/pads")["private"] is True
    assert desk.main_of("coop/pads") == desk.git(desk.upstream, "rev-parse", "HEAD")
    (request,) = desk.gitea.call("GET", "/repos/coop/pads/pulls")
    assert request["html_url"] == made.data["merge_request"]
    assert (request["head"]["sha"], request["user"]["login"]) == (proposed, "trav")
    assert request["title"] == "add of-better"

    again = desk.mirror(*words)
    assert (again.status, again.data["created"]) == (0, False)
    assert again.data["merge_request"] == made.data["merge_request"]

    later = desk.commit(desk.upstream, "second")
    more = desk.commit(desk.clone, "more")
    synced = desk.mirror(*words)
    assert (synced.status, synced.data["discarded"]) == (0, 0), synced.error
    assert desk.main_of("coop/pads") == later
    (request,) = desk.gitea.call("GET", "/repos/coop/pads/pulls")
    assert request["html_url"] == synced.data["merge_request"]
    assert request["head"]["sha"] == more


def test_a_main_with_commits_of_its_own_is_replaced_only_when_told(desk: Desk) -> None:
    assert desk.mirror("--repository=coop/own").status == 0
    body = {"content": "bWluZQ==", "message": "mine", "branch": "main"}
    own = desk.gitea.call("POST", "/repos/coop/own/contents/mine.txt", body)["commit"]["sha"]
    refused = desk.mirror("--repository=coop/own")
    assert (refused.status, "1 commits that upstream lacks" in refused.error) == (1, True)
    assert desk.main_of("coop/own") == own
    told = desk.mirror("--repository=coop/own", "--discard")
    assert (told.status, told.data["discarded"], told.data["before"]) == (0, 1, own)
    assert desk.main_of("coop/own") == desk.git(desk.upstream, "rev-parse", "HEAD")


def test_a_branch_of_another_is_not_overwritten(desk: Desk) -> None:
    desk.propose()
    words = ("--repository=coop/shared", f"--change={desk.clone}@better")
    assert desk.mirror(*words).status == 0
    desk.git(desk.clone, "commit", "-q", "--amend", "-m", "another")
    refused = desk.mirror(*words)
    assert (refused.status, "not pushed" in refused.error) == (1, True)


def _readable(desk: Desk) -> None:
    desk.file.chmod(0o644)


def _wrong(desk: Desk) -> None:
    desk.file.write_text("0" * 40)


def _nothing(_: Desk) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "words", "status", "reason"),
    [
        (_readable, ("--repository=coop/none",), 3, "others may read your access token"),
        (_wrong, ("--repository=coop/none",), 1, "401"),
        (_nothing, ("--repository=elsewhere/none",), 1, "404"),
        (_nothing, ("--repository=coop/none", "--upstream=file:///none"), 1, "cannot be fetched"),
        (_nothing, ("--repository=coop/none", "--change=/nowhere@x"), 2, "no directory"),
        (_nothing, ("--repository=coop/none", "--change=clone@main"), 2, "main is the mirror's"),
        (
            _nothing,
            ("--repository=coop/none", "--change=clone@main", "--branch=x"),
            1,
            "nothing is",
        ),
        (_nothing, ("--repository=coop/none", "--change=clone@a..b"), 2, "not a branch"),
        (_nothing, ("--forge=http://127.0.0.1:9", "--repository=a/b"), 3, "does not answer"),
    ],
)
def test_what_cannot_be_mirrored_is_refused_and_nothing_is_made(
    desk: Desk, monkeypatch, make, words, status, reason
) -> None:
    monkeypatch.chdir(desk.place)
    make(desk)
    said = desk.mirror(*words)
    assert (said.status, reason in said.error) == (status, True), said.error
    names = [one["name"] for one in desk.gitea.call("GET", "/orgs/coop/repos")]
    assert "none" not in names
