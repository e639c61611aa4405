"""Coding tools on a real repository: what they may do, what they refuse, and how they are left."""

from __future__ import annotations

import errno
import json

import pytest
from contracts import BRANCH, Bench
from repositories import git

from agency.programs import Bounds
from agency.workspace.config import CodingSettings, WorkspaceSettings
from agency.workspace.servers.coding import Coding
from agency.workspace.servers.serving import Desk

ABOUT = WorkspaceSettings(
    full_name="Petra Maier",
    email="agent-pm@agency.example",
    matrix_id="@agent-pm:agency.example",
    domain="agency.example",
    operators=[],
)


class Tools:
    """The tools over a bench's repository, called as the gateway calls them."""

    def __init__(self, directory, *reviews):
        self.bench = Bench(directory)
        self.reviews = reviews or (["grep", "-q", "mended", "app"],)
        self.open()

    def open(self):
        """Begin a server, as after the end of another."""
        terms = CodingSettings(branch_prefix="agent-pm/", max_reviews=2, reviews=self.reviews)
        self.desk = Desk(Coding(self.bench.checkout, terms, ABOUT, self.bench.state).offers())

    async def call(self, name, **arguments):
        done = await self.desk.call(name, arguments)
        return done.isError, done.content[0].text

    async def good(self, name, **arguments):
        failed, text = await self.call(name, **arguments)
        assert not failed, text
        return text

    async def bad(self, name, **arguments):
        failed, text = await self.call(name, **arguments)
        assert failed, text
        return text


@pytest.fixture
def tools(tmp_path):
    return Tools(tmp_path)


async def test_from_its_beginning_to_its_end_only_the_branch_of_the_task_changes(tools):
    bench, before = tools.bench, tools.bench.heads()
    assert await tools.good("begin", slug="mend-it") == f"on {BRANCH}\napp"
    assert "grep: exit status 1" in await tools.bad("check")
    await tools.good("write", path="app", content="mended\n")
    await tools.good("write", path="docs/new/page.md", content="how\n")
    assert await tools.good("read", path="docs/new/page.md") == "how\n"
    assert await tools.good("check") == "passed: 1 checks"
    assert (await tools.good("commit", message="Mend it")).endswith("Mend it")
    (bench.place / "left").write_text("over\n")
    told = json.loads(await tools.good("end"))
    assert told["breaches"] == []
    assert told["stash"]
    assert [line.partition(" ")[2] for line in told["commits"]] == ["Mend it"]
    after = bench.heads()
    assert after.pop(BRANCH) == told["head"]
    assert after == before
    assert git(bench.place, "branch", "--show-current").strip() == "main"
    author = git(bench.place, "log", "-1", "--format=%an <%ae>", BRANCH).strip()
    assert author == "Petra Maier <agent-pm@agency.example>"


PATHS = (
    "../app",
    "/etc/passwd",
    "a//b",
    "./app",
    ".git/config",
    "sub/.git/hooks/x",
    ".GIT/config",
    ".git./config",
    "git~1/config",
    "a\x00b",
    "a\nb",
    "",
)


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_leads_out_or_into_gits_own_directory(tools, path):
    await tools.good("begin", slug="mend-it")
    for name, more in (("read", {}), ("write", {"content": "x"})):
        await tools.bad(name, path=path, **more)
    assert await tools.good("read", path="app") == "code\n"  # the positive control


async def test_no_link_is_followed(tools):
    bench = tools.bench
    (bench.home / "secret").write_text("the key\n")
    await tools.good("begin", slug="mend-it")
    (bench.place / "file").symlink_to(bench.home / "secret")
    (bench.place / "folder").symlink_to(bench.home)
    (bench.place / "loop").symlink_to("loop")
    for path in ("file", "folder/secret", "loop", "loop/x"):
        assert "the key" not in await tools.bad("read", path=path)
        await tools.bad("write", path=path, content="x")
    assert (bench.home / "secret").read_text() == "the key\n"


async def test_nothing_is_written_before_a_task_has_begun_or_on_another_branch(tools):
    for name, more in (
        ("write", {"path": "app", "content": "x"}),
        ("commit", {"message": "x"}),
        ("check", {}),
        ("end", {}),
    ):
        assert "no task has begun" in await tools.bad(name, **more)
    await tools.good("begin", slug="mend-it")
    assert "has begun" in await tools.bad("begin", slug="another")
    git(tools.bench.place, "switch", "-q", "other")
    assert "the branch was left for other" in await tools.bad("write", path="app", content="x")
    assert (tools.bench.place / "app").read_text() == "code\n"


async def test_a_server_that_was_ended_goes_on_with_the_task(tools):
    await tools.good("begin", slug="mend-it")
    await tools.good("write", path="app", content="mended\n")
    tools.open()
    assert (await tools.good("begin", slug="mend-it")).startswith(f"on {BRANCH}")
    assert await tools.good("read", path="app") == "mended\n"
    await tools.good("commit", message="Mend it")
    assert len(json.loads(await tools.good("end"))["commits"]) == 1
    await tools.good("begin", slug="another")


async def test_what_a_check_changes_beyond_the_branch_is_told(tmp_path):
    """Checks run what the agent wrote; refs are compared at the end. The hook refuses it, too."""
    tools = Tools(tmp_path, ["git", "-c", "core.hooksPath=/dev/null", "tag", "v1"])
    await tools.good("begin", slug="mend-it")
    await tools.call("check")
    assert json.loads(await tools.good("end"))["breaches"] == ["refs/tags/v1 was changed"]


async def test_hooks_and_filters_that_a_repository_plants_do_not_run_at_a_commit(tools):
    await tools.good("begin", slug="mend-it")
    hook = tools.bench.place / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\ntouch planted\n")
    hook.chmod(0o755)
    await tools.good("write", path="app", content="mended\n")
    await tools.good("commit", message="Mend it")
    assert not (tools.bench.place / "planted").exists()


async def test_checks_have_an_end_and_a_full_disk_is_the_result_of_its_call(tools, monkeypatch):
    terms = CodingSettings(branch_prefix="agent-pm/", max_reviews=2, reviews=[["sleep", "60"]])
    terms = terms.model_copy(update={"max_wall_time": 0.3})
    tools.desk = Desk(Coding(tools.bench.checkout, terms, ABOUT, tools.bench.state).offers())
    await tools.good("begin", slug="mend-it")
    assert "no end of the checks" in await tools.bad("check")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agency.workspace.servers.tree.os.mkdir", full)
    assert "No space left" in await tools.bad("write", path="new/file", content="x")
    assert await tools.good("read", path="app") == "code\n"


async def test_old_logs_of_checks_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("agency.workspace.logs.MOST_LOGS", 3)
    tools = Tools(tmp_path, ["echo", "seen"])
    await tools.good("begin", slug="mend-it")
    for number in range(1, 6):
        await tools.good("check")
        logs = list(tools.bench.state.glob("*.log"))
        assert len(logs) == min(number, 3)
    assert {path.read_text() for path in logs} == {"seen\n"}
    assert (await tools.good("begin", slug="mend-it")).startswith("on "), "what began is kept"


async def test_what_a_check_prints_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("agency.workspace.contract.work._REVIEW_BOUNDS", Bounds(file_bytes=4096))
    tools = Tools(tmp_path, ["head", "-c", "4096", "/dev/zero"])
    await tools.good("begin", slug="mend-it")
    assert await tools.good("check") == "passed: 1 checks"
    tools.reviews = (["head", "-c", "9000", "/dev/zero"],)
    tools.open()
    assert "head: exit status" in await tools.bad("check")
    assert max(path.stat().st_size for path in tools.bench.state.glob("*.log")) == 4096


async def test_calls_that_are_none_are_refused(tools):
    assert "no such tool" in await tools.bad("push")
    assert "no such tool" in await tools.bad("Begin")
    assert "missing: slug" in await tools.bad("begin")
    assert "the arguments are slug" in await tools.bad("begin", slug="x", force="yes")
    assert "each argument is a text" in await tools.bad("begin", slug=1)
    assert "no slug" in await tools.bad("begin", slug="../main")
    await tools.good("begin", slug="mend-it")
    assert "larger" in await tools.bad("read", path=await big(tools))
    assert "1 to 2000" in await tools.bad("commit", message=" ")


async def big(tools):
    (tools.bench.place / "big").write_bytes(b"x" * (512 * 1024 + 1))
    return "big"
