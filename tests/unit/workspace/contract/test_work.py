"""Work under the contract with real git: what it may do, what it may not, and how it is left."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from contracts import AUTHOR, BRANCH, COMMIT, Bench
from repositories import git

from agency.errors import PrerequisiteError
from agency.workspace.contract.preflight import PreflightError
from agency.workspace.contract.repository import HOOKS, check_hooks, contract_env

pytestmark = pytest.mark.skipif(HOOKS.stat().st_uid != 0, reason="the hooks must be root's")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_commits_on_its_branch_are_what_the_contract_is_for(bench):
    before = bench.heads()
    done = await bench.work(COMMIT)
    assert done.ok, done
    assert [line.split(" ", 1)[1] for line in done.commits] == ["Mend it"]
    after = bench.heads()
    assert after.pop(BRANCH) == done.head != bench.base
    assert after == before
    assert git(bench.place, "branch", "--show-current").strip() == "main"
    author = git(bench.place, "log", "-1", "--format=%an <%ae>", BRANCH).strip()
    assert author == f"{AUTHOR.name} <{AUTHOR.email}>"


async def test_work_goes_on_where_it_was_left(bench):
    await bench.work(COMMIT)
    done = await bench.work(COMMIT)
    assert len(done.commits) == 2


PUSHES = (
    "git push origin HEAD",
    "git push --no-verify origin HEAD",
    "git -c core.hooksPath=/dev/null push --no-verify origin HEAD:refs/heads/main",
    "git push --no-verify ../../../../remote.git HEAD",
)


@pytest.mark.parametrize("push", PUSHES)
async def test_a_push_is_refused_however_it_is_asked_for(bench, push):
    """Positive control: without the contract's environment it works."""
    before = bench.heads()
    done = await bench.work(COMMIT + push)
    assert not done.ok
    assert done.status not in {0, None}
    after = bench.heads()
    after.pop(BRANCH)
    assert after == before
    git(bench.place, "switch", "-q", BRANCH)
    control = await asyncio.to_thread(subprocess.run, ["sh", "-c", push], cwd=bench.place)
    assert control.returncode == 0
    assert bench.heads() != after


async def test_the_hook_tells_the_command_why_it_cannot_push(bench):
    await bench.work(COMMIT + "GIT_ALLOW_PROTOCOL=file git push origin HEAD")
    assert "the coding contract forbids to push" in bench.said()
    assert "remote agent-pm/mend-it" not in bench.heads()


REFS = (
    "git branch stray",
    "git branch -f other HEAD",
    "git branch -D other",
    "git tag v1",
    "git update-ref refs/heads/other HEAD",
    "git switch -c stray && git commit --allow-empty -m x",
    "git switch other; git commit --no-verify --allow-empty -m x",
    "git checkout --detach; git commit --allow-empty -m x",
    "git replace HEAD HEAD~1",
)


@pytest.mark.parametrize("change", REFS)
async def test_no_other_branch_or_tag_is_changed(bench, change):
    before = bench.heads()
    done = await bench.work(COMMIT + f"{change} || echo refused")
    assert "refused" in bench.said()
    assert "the coding contract forbids to" in bench.said()
    after = bench.heads()
    after.pop(BRANCH)
    assert after == before
    assert not git(bench.place, "tag", "--list")
    assert [one for one in done.breaches if "was changed" in one] == []


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        ("git branch -f other HEAD", "refs/heads/other was changed"),
        ("git tag v1", "refs/tags/v1 was changed"),
        ("git branch -D other", "refs/heads/other was changed"),
        ("git switch -q other", "the branch was left for other"),
        ("git switch -q --detach", "the branch was left for a commit"),
    ],
)
async def test_what_goes_around_the_hooks_is_found_afterwards(bench, change, breach):
    done = await bench.work(COMMIT + change.replace("git ", "git -c core.hooksPath=/dev/null ", 1))
    assert done.breaches == [breach]
    assert not done.ok
    assert done.status == 0
    assert git(bench.place, "branch", "--show-current").strip() == "main"


HOOK_NAMES = ("pre-commit", "post-commit", "post-checkout", "prepare-commit-msg", "pre-push",
              "reference-transaction", "fsmonitor", "post-index-change")  # fmt: skip


@pytest.mark.parametrize("planted", [".git/hooks", "hooks-of-the-repository"])
async def test_hooks_that_a_repository_plants_run_nowhere(bench, tmp_path, planted):
    """Neither in the command's calls of git nor in ours. Positive control: without us they do."""
    told = tmp_path / "ran"
    hooks = bench.place / planted
    hooks.mkdir(exist_ok=True)
    for name in HOOK_NAMES:
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {told}\n")
        (hooks / name).chmod(0o755)
    if not planted.startswith("."):
        git(bench.place, "add", "-A")
        git(bench.place, "commit", "-qm", "hooks")
        git(bench.place, "config", "core.hooksPath", planted)
    git(bench.place, "config", "core.fsmonitor", str(hooks / "fsmonitor"))
    done = await bench.work(COMMIT + "echo dirty >> app")
    assert done.commits
    assert done.stash
    assert not told.exists()
    git(bench.place, "commit", "-q", "--allow-empty", "-m", "control")
    assert "post-commit" in told.read_text()


async def test_credentials_do_not_reach_the_command(bench, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent.sock")
    monkeypatch.setenv("GITLAB_TOKEN", "geheim")
    helper = bench.home / "helper"
    helper.write_text("#!/bin/sh\necho username=pm; echo password=x\n")
    helper.chmod(0o755)
    (bench.home / ".gitconfig").write_text(f"[credential]\n\thelper = {helper}\n")
    git(bench.place, "config", "credential.helper", str(helper))
    ask = "printf 'protocol=https\\nhost=x\\n\\n' | git credential fill"
    await bench.work(f"env; {ask}")
    assert "SSH_AUTH_SOCK" not in bench.said()
    assert "geheim" not in bench.said()
    assert "password=x" not in bench.said()
    env = {"PATH": os.environ["PATH"], "HOME": str(bench.home)}
    control = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", ask], cwd=bench.place, env=env, capture_output=True, text=True
    )
    assert "password=x" in control.stdout


async def test_a_failing_check_sends_the_command_back_with_what_it_said(bench):
    script = COMMIT + '[ -z "$AGENCY_REVIEW" ] || { grep -q wrong "$AGENCY_REVIEW" && touch fine; }'
    script += "; git add -A; git commit -qm again || true"
    check = ["sh", "-c", "[ -e fine ] || { echo wrong; exit 1; }"]
    done = await bench.work(script, reviews=[["true"], check])
    assert done.ok, done
    assert (done.rounds, done.failed_review) == (2, None)


@pytest.mark.parametrize(("most", "rounds"), [(0, 1), (2, 3)])
async def test_a_check_that_never_passes_is_for_a_person(bench, most, rounds):
    done = await bench.work(COMMIT, reviews=[["sh", "-c", "exit 7"]], max_reviews=most)
    assert (done.ok, done.rounds, done.failed_review) == (False, rounds, "sh: exit status 7")
    assert len(done.commits) == rounds


async def test_old_logs_of_rounds_are_removed(bench, monkeypatch):
    monkeypatch.setattr("agency.workspace.logs.MOST_LOGS", 2)
    for number in range(2):
        (bench.state / f"old-{number}.log").write_text("old")
        os.utime(bench.state / f"old-{number}.log", (number, number))
    await bench.work("echo new")
    assert len(list(bench.state.glob("*.log"))) == 2
    assert bench.said() in {"new\nold", "oldnew\n"}
    assert not (bench.state / "old-0.log").exists()


async def test_without_a_commit_there_is_nothing_to_hand_in(bench):
    done = await bench.work("true", reviews=[["false"]])
    assert (done.ok, done.commits, done.rounds) == (False, [], 0)


async def test_what_is_left_over_is_stashed_and_told(bench):
    done = await bench.work(COMMIT + "echo half >> app; echo new > new; exit 3")
    assert (done.ok, done.status) == (False, 3)
    assert git(bench.place, "status", "--porcelain") == ""
    assert git(bench.place, "branch", "--show-current").strip() == "main"
    shown = git(bench.place, "show", "--format=%s%n%P", done.stash).splitlines()
    assert shown[0] == f"On {BRANCH}: agency: left over of {BRANCH}"
    assert git(bench.place, "show", f"{done.stash}^3:new") == "new\n"
    assert "remote" not in " ".join(done.breaches)


async def test_time_is_up_and_it_is_left_tidily(bench):
    began = time.monotonic()
    done = await bench.work(COMMIT + "echo half >> app; sleep 60", timeout_s=1.5)
    assert time.monotonic() - began < 20
    assert (done.ok, done.status) == (False, None)
    assert done.stash
    assert len(done.commits) == 1
    assert git(bench.place, "branch", "--show-current").strip() == "main"


async def test_a_cancelled_call_leaves_tidily(bench):
    task = asyncio.ensure_future(bench.work("echo half >> app; touch begun; sleep 60"))
    while not (bench.place / "begun").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert git(bench.place, "status", "--porcelain") == ""
    assert git(bench.place, "stash", "list")


async def test_an_unready_repository_is_left_as_it_is(bench):
    (bench.place / "app").write_text("mine\n")
    with pytest.raises(PreflightError):
        await bench.work(COMMIT)
    assert (bench.place / "app").read_text() == "mine\n"
    assert BRANCH not in bench.heads()


async def test_a_missing_program_is_told_before_anything_is_changed(bench):
    with pytest.raises(PrerequisiteError, match="no-such-linter"):
        await bench.work(COMMIT, reviews=[["no-such-linter"]])
    assert BRANCH not in bench.heads()


def test_the_hooks_of_this_checkout_are_those_that_count():
    assert {path.name for path in HOOKS.iterdir()} == {"pre-push", "reference-transaction"}
    env = contract_env(BRANCH, AUTHOR)
    assert env["GIT_CONFIG_VALUE_0"] == str(HOOKS)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
@pytest.mark.parametrize("spoil", ["owner", "mode", "file mode", "missing", "link", "no x"])
async def test_hooks_that_the_agent_could_change_hold_no_contract(bench, tmp_path, spoil):
    hooks = tmp_path / "hooks"
    shutil.copytree(HOOKS, hooks)
    for path in (hooks, *hooks.iterdir()):
        os.chown(path, 0, 0)
        path.chmod(0o755)
    check_hooks(hooks)
    hook = hooks / "pre-push"
    if spoil == "owner":
        os.chown(hook, 4001, 0)
    elif spoil == "mode":
        hooks.chmod(0o775)
    elif spoil == "file mode":
        hook.chmod(0o757)
    elif spoil == "missing":
        hook.unlink()
    elif spoil == "link":
        hook.unlink()
        hook.symlink_to(HOOKS / "pre-push")
    else:
        hook.chmod(0o644)
    with pytest.raises(PrerequisiteError, match="hook"):
        await bench.work(COMMIT, hooks=hooks)
    assert BRANCH not in bench.heads()


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="running as an agent needs root")
def test_the_agents_user_cannot_change_the_hooks(tmp_path):
    hooks = tmp_path / "hooks"
    shutil.copytree(HOOKS, hooks)
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp") and path != path.parent and str(path) != "/tmp":
            path.chmod(path.stat().st_mode | 0o011)
    for act in (
        "echo x >> pre-push",
        "rm -f pre-push",
        "mv pre-push x",
        "touch new",
        "chmod 777 .",
    ):
        done = subprocess.run(["sh", "-c", act], cwd=hooks, user=4001, group=3999, extra_groups=[])
        assert done.returncode != 0, act
    check_hooks(hooks)


class TestCommand:
    """The command as people and the task loop call it."""

    @pytest.fixture
    def settings(self, bench, tmp_path):
        about = {
            "fullName": AUTHOR.name, "email": AUTHOR.email, "matrixId": "@agent-pm:agency.example",
            "domain": "agency.example", "operators": [],
        }  # fmt: skip
        terms = {"branchPrefix": "agent-pm/", "maxReviews": 1, "reviews": [["test", "-s", "app"]]}
        told = {"name": "pm", "role": "pm", "home": str(bench.home)}
        told |= {"workspace": about, "codingAgent": terms}
        (tmp_path / "pm.json").write_text(json.dumps(told))
        return tmp_path

    def argv(self, settings, verb, *more):
        argv = [sys.executable, "-m", "agency", "workspace", "coding-agent", verb, "pm"]
        return [*argv, "--repository", "app", "--settings", str(settings), "--json", *more]

    def test_checks_works_and_refuses(self, bench, settings):
        def run(verb, *more):
            argv = self.argv(settings, verb, *more)
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout

        assert run("check")[0] == 0
        status, told = run("run", "--slug", "mend-it", "--", "sh", "-c", COMMIT)
        assert (status, json.loads(told)["branch"]) == (0, BRANCH)
        assert (
            run("run", "--slug", "x", "--", "sh", "-c", "git push --no-verify origin HEAD")[0] == 1
        )
        (bench.place / "app").write_text("mine\n")
        assert run("check")[0] == 1
        assert run("run", "--slug", "No", "--", "true")[0] == 2

    def test_a_signal_leaves_tidily(self, bench, settings):
        script = "echo half >> app; touch begun; sleep 60"
        argv = self.argv(settings, "run", "--slug", "mend-it", "--", "sh", "-c", script)
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while not (bench.place / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert "other work is done in this repository" in second.stdout + second.stderr
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
        assert process.returncode == 1, out + err
        assert git(bench.place, "status", "--porcelain") == ""
        assert git(bench.place, "branch", "--show-current").strip() == "main"
