"""Tools of a forge, which is SIMULATED: bounds of arguments, and what may be handed in."""

from __future__ import annotations

import json
import subprocess

import pytest
from contracts import Bench
from repositories import git

from agency.errors import AgencyError, PrerequisiteError, UsageError
from agency.forge import Issue, MergeRequest, MergeState, Project, User
from agency.programs import ProgramError
from agency.secrets import SecretValue
from agency.workspace.servers import handing_in, opening
from agency.workspace.servers.forging import Checkout, Forging
from agency.workspace.servers.handing_in import check_branch, push

TOKEN = SecretValue("a-token-of-the-forge-for-tests")
BRANCH = "agent-pm/mend-it"


class SimulatedForge:
    """What the tools ask of a forge; its project is a bare repository."""

    def __init__(self, url):
        self.url, self.issues, self.comments, self.requests = url, [], [], []

    async def project(self, path):
        return Project(1, path, "main", self.url, "https://git.example/team/app")

    async def current_user(self):
        return User(1, "bot")

    async def open_issues(self, project):
        return self.issues

    async def open_issue(self, project, title, text, labels=()):
        made = Issue(7, title, text, User(1, "bot"), True, tuple(labels), "https://git.example/7")
        self.issues.append(made)
        return made

    async def comment_issue(self, project, number, text):
        self.comments.append((number, text))

    async def open_merge_requests(self, project):
        return self.requests

    async def open_merge_request(self, project, new):
        sha = self.head(new.source_branch)
        made = MergeRequest(
            3, new.title, MergeState.OPEN, User(1, "bot"), new.target_branch,
            new.source_branch, sha, "https://git.example/3",
        )  # fmt: skip
        self.requests.append(made)
        return made


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    git(made.place, "switch", "-qc", BRANCH)
    git(made.place, "commit", "-q", "--allow-empty", "-m", "Mend it")
    return made


@pytest.fixture
def forge(bench):
    made = SimulatedForge(str(bench.remote))
    made.head = lambda branch: git(bench.remote, "rev-parse", branch).strip()
    return made


def tools(forge, bench=None):
    checkout = None if bench is None else Checkout(bench.place, "agent-pm/")
    return Forging(forge, "team/app", TOKEN, checkout)


WISH = {"title": "Mend it", "text": "It is broken.", "label": "agent:dev"}


async def test_an_issue_is_opened_with_its_label_and_listed(forge):
    found = tools(forge)
    assert await found.open_issue(WISH) == "issue 7: https://git.example/7"
    (row,) = json.loads(await found.list_issues({}))
    assert (row["title"], row["labels"]) == ("Mend it", ["agent:dev"])
    await found.comment_issue({"issue": "7", "text": "on it"})
    assert forge.comments == [(7, "on it")]
    assert [each.name for each in found.offers()] == ["list_issues", "open_issue", "comment_issue"]


@pytest.mark.parametrize(
    "change",
    [
        {"title": " "},
        {"title": "x" * 201},
        {"text": ""},
        {"text": "x" * 8001},
        {"label": "a,b"},
        {"label": "Agent:dev\n"},
    ],
)
async def test_what_is_no_issue_is_not_opened(forge, change):
    with pytest.raises(UsageError):
        await tools(forge).open_issue({**WISH, **change})
    assert forge.issues == []


@pytest.mark.parametrize("issue", ["0", "-1", "7/../8", "7 ", "", "1234567890"])
async def test_a_comment_goes_to_a_number(forge, issue):
    with pytest.raises(UsageError):
        await tools(forge).comment_issue({"issue": issue, "text": "x"})
    assert forge.comments == []


@pytest.mark.parametrize(
    "branch",
    [
        "main",
        "agent-dev/mend-it",
        "agent-pm/",
        "agent-pm/../main",
        "agent-pm/a:refs/heads/main",
        "+agent-pm/a",
        "agent-pm/-x",
        "agent-pm/a b",
        "agent-pm/A",
        "agent-pm/a\n",
        "refs/heads/agent-pm/a",
    ],
)
def test_only_a_branch_of_its_own_is_handed_in(branch):
    with pytest.raises(UsageError):
        check_branch(branch, "agent-pm/")
    assert check_branch(BRANCH, "agent-pm/") == BRANCH


async def test_a_branch_is_pushed_and_has_one_merge_request(forge, bench):
    before = bench.heads()
    found = tools(forge, bench)
    told = await found.hand_in({"branch": BRANCH, "title": "Mend it", "text": "Mended."})
    assert told.endswith("merge request 3: https://git.example/3")
    head = git(bench.place, "rev-parse", BRANCH).strip()
    assert bench.heads() == {**before, f"remote {BRANCH}": head}
    await found.hand_in({"branch": BRANCH, "title": "Mend it", "text": "Mended."})
    assert len(forge.requests) == 1
    git(bench.place, "commit", "-q", "--amend", "--allow-empty", "-m", "Otherwise")
    with pytest.raises(AgencyError, match="git push failed"):
        await found.hand_in({"branch": BRANCH, "title": "Mend it", "text": "Mended."})
    assert forge.head(BRANCH) == head, "never by force"


def test_what_the_agent_sets_in_its_repository_leads_no_push_astray(bench, tmp_path, monkeypatch):
    """Settings that would send the token elsewhere, and hooks that would see it, do nothing."""
    seen, run = [], handing_in.run_to_end

    def watched(argv, **options):
        seen.append((argv[1], dict(options["env"])))
        return run(argv, **options)

    monkeypatch.setattr(handing_in, "run_to_end", watched)
    stolen = tmp_path / "stolen"
    for key, value in {
        f"url.file://{tmp_path}/evil.git.insteadOf": str(bench.remote),
        "credential.helper": f"!touch {stolen}",
        "core.fsmonitor": f"touch {stolen}",
        "core.hooksPath": str(tmp_path / "hooks"),
        "uploadpack.packObjectsHook": f"touch {stolen}",
    }.items():
        git(bench.place, "config", key, value)
    (tmp_path / "hooks").mkdir()
    hook = tmp_path / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\ntouch {stolen}\n")
    hook.chmod(0o755)
    control = subprocess.run(["git", "push", "origin", BRANCH], cwd=bench.place, check=False)
    assert control.returncode != 0 or stolen.exists(), "in the checkout they would count"
    stolen.unlink(missing_ok=True)
    sha = push(bench.place, BRANCH, str(bench.remote), "bot", TOKEN)
    assert bench.heads()[f"remote {BRANCH}"] == sha
    assert not stolen.exists()
    assert [verb for verb, _ in seen] == ["init", "fetch", "push", "rev-parse"]
    assert TOKEN.reveal() not in json.dumps([env for _, env in seen])


def test_a_branch_that_is_not_there_is_said(bench):
    with pytest.raises(ProgramError, match="git fetch failed"):
        push(bench.place, "agent-pm/none", str(bench.remote), "bot", TOKEN)


def test_the_token_is_taken_out_of_the_environment(monkeypatch):
    monkeypatch.setenv("FORGE_TOKEN", TOKEN.reveal())
    assert opening.take_token().reveal() == TOKEN.reveal()
    assert "FORGE_TOKEN" not in opening.os.environ
    with pytest.raises(PrerequisiteError, match="token is missing"):
        opening.take_token()
