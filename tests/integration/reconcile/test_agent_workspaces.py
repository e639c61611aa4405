"""agent-workspaces on a real file system, as root, for agents that try to lead it astray."""

import asyncio
import os
import resource
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency import guarded
from agency.guarded import GuardedError
from agency.reconcile.agents.workspaces import AgentWorkspaces, AgentWorkspacesSettings, opened
from agency.reconcile.engine.engine import Engine, Outcome, Report
from agency.workspace import Repository

UID, GID = 24242, 3999
OTHER = 24243

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="giving files to agents needs root"),
]
FILES = {
    "TASKS.yaml", "PROJECTS.yaml", "ISSUES.yaml", "SCHEDULES.yaml", "SOUL.md", "HUMAN.md",
    "AGENTS.md", "ARCHITECTURE.md", "REQUIREMENTS.md", "SERVICES.md", ".gitignore",
}  # fmt: skip


@pytest.fixture
def homes() -> Iterator[Path]:
    """A directory like /home: root's, and open to be passed through."""
    place = Path(tempfile.mkdtemp(prefix="agency-homes-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def agent(homes: Path, name: str = "pm", uid: int = UID, **more) -> dict:
    return {
        "name": name, "role": "pm", "fullName": "Petra Maier", "uid": uid, "gid": GID,
        "matrixId": f"@agent-{name}:agency.example", "home": str(homes / f"agent-{name}"), **more,
    }  # fmt: skip


async def converge(homes: Path, place: Path, *agents: dict, check: bool = False) -> Report:
    settings = AgentWorkspacesSettings.model_validate(
        {
            "domain": "agency.example",
            "operators": ["@alice:agency.example"],
            "agents": list(agents or [agent(homes)]),
        }
    )
    async with opened(settings) as reconciler:
        return await Engine("agent-workspaces", reconciler, place / "lock").run(check=check)


def tree(root: Path) -> dict[str, tuple]:
    """Everything that a write would change, by path."""
    return {
        str(path.relative_to(root)): (
            (found := path.lstat()).st_ino, found.st_mtime_ns, found.st_ctime_ns,
            found.st_mode, found.st_uid, found.st_gid,
        )
        for path in [root, *root.rglob("*")]
    }  # fmt: skip


def as_agent(*argv: str, uid: int = UID) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, user=uid, group=GID, extra_groups=[], capture_output=True, text=True, cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip


async def test_makes_a_closed_home_and_a_workspace_and_then_changes_nothing(homes, tmp_path):
    report = await converge(homes, tmp_path)
    assert report.outcome is Outcome.CHANGED, report
    home = homes / "agent-pm"
    space = home / "agent-space"
    for path in (home, space):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {p.name for p in space.iterdir()} == FILES | {".repos", "logs", ".git"}
    assert {(p.stat().st_uid, p.stat().st_gid) for p in [home, *home.rglob("*")]} == {(UID, GID)}
    assert "Petra Maier" in (space / "SOUL.md").read_text()
    assert "agent-pm@agency.example" in (space / "SOUL.md").read_text()
    assert "@alice:agency.example" in (space / "HUMAN.md").read_text()

    before = tree(homes)
    assert (await converge(homes, tmp_path)).outcome is Outcome.UNCHANGED
    assert (await converge(homes, tmp_path, check=True)).exit_code == 0
    assert tree(homes) == before


async def test_the_agent_has_its_own_address_and_signs_with_it(homes, tmp_path):
    await converge(homes, tmp_path, agent(homes, email="petra@people.example"))
    space = homes / "agent-pm" / "agent-space"
    assert "petra@people.example" in (space / "SOUL.md").read_text()
    done = as_agent("git", "-C", str(space), "commit", "-qm", "x", "--allow-empty")
    assert done.returncode == 0, done.stderr
    log = as_agent("git", "-C", str(space), "log", "--format=%an <%ae>").stdout.strip()
    assert log == "Petra Maier <petra@people.example>"


async def test_the_agent_can_commit_there_and_another_agent_can_see_nothing(homes, tmp_path):
    await converge(homes, tmp_path)
    space = str(homes / "agent-pm" / "agent-space")
    identity = ("-c", "user.name=p", "-c", "user.email=p@x")
    added = as_agent("git", "-C", space, "add", "-A")
    assert added.returncode == 0, added.stderr
    done = as_agent("git", "-C", space, *identity, "commit", "-qm", "first")
    assert done.returncode == 0, done.stderr
    assert "main" in as_agent("git", "-C", space, "branch").stdout
    assert as_agent("ls", space).returncode == 0
    assert as_agent("ls", space, uid=OTHER).returncode != 0
    assert as_agent("ls", str(homes / "agent-pm"), uid=OTHER).returncode != 0


async def test_a_check_says_what_is_missing_and_makes_nothing(homes, tmp_path):
    report = await converge(homes, tmp_path, check=True)
    assert (report.outcome, int(report.exit_code)) == (Outcome.DRIFT, 1)
    assert list(homes.iterdir()) == []


async def test_what_the_agent_wrote_is_kept_and_only_what_is_missing_is_made(homes, tmp_path):
    await converge(homes, tmp_path)
    space = homes / "agent-pm" / "agent-space"
    (space / "SOUL.md").write_text("I am somebody else now.\n")
    (space / "TASKS.yaml").unlink()
    shutil.rmtree(space / "logs")
    report = await converge(homes, tmp_path)
    assert {change.what for change in report.applied} == {
        "agent-pm/agent-space/TASKS.yaml file",
        "agent-pm/agent-space/logs directory",
    }
    assert (space / "SOUL.md").read_text() == "I am somebody else now.\n"


@pytest.mark.parametrize("below", ["", "agent-space"])
async def test_an_open_mode_is_closed(homes, tmp_path, below):
    await converge(homes, tmp_path)
    place = homes / "agent-pm" / below
    place.chmod(0o2775)
    report = await converge(homes, tmp_path)
    assert [(c.before, c.after) for c in report.applied] == [("2775", "0700")]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize("below", ["", "agent-space", "agent-space/logs", "agent-space/SOUL.md"])
async def test_a_wrong_owner_is_put_right(homes, tmp_path, below):
    await converge(homes, tmp_path)
    place = homes / "agent-pm" / below
    place.chmod(0o755 if place.is_dir() else 0o644)
    os.chown(place, 0, 0)
    report = await converge(homes, tmp_path)
    assert report.outcome is Outcome.CHANGED, report
    assert (place.stat().st_uid, place.stat().st_gid) == (UID, GID)


async def test_a_remote_is_added_once_and_the_agents_own_choice_is_kept(homes, tmp_path):
    wanted = agent(homes, remote="https://gitlab.agency.example/agents/pm.git")
    await converge(homes, tmp_path, wanted)
    space = str(homes / "agent-pm" / "agent-space")
    read = ("git", "-C", space, "remote", "get-url", "origin")
    assert as_agent(*read).stdout.strip() == wanted["remote"]
    as_agent("git", "-C", space, "remote", "set-url", "origin", "https://elsewhere.example/x.git")
    assert (await converge(homes, tmp_path, wanted)).outcome is Outcome.UNCHANGED
    assert as_agent(*read).stdout.strip() == "https://elsewhere.example/x.git"


def huge(config: Path) -> None:
    with config.open("wb") as file:
        file.write(b'[remote "origin"]\n\turl = ' + b"a" * 100_000_000)


def many(config: Path) -> None:
    config.write_bytes(b'[remote "origin"]\n' + b"\turl = aaaaaaaa\n" * 100_000)


def endless(config: Path) -> None:
    config.write_text("[include]\n\tpath = /dev/zero\n")


def never(config: Path) -> None:
    config.unlink()
    os.mkfifo(config, 0o666)


def broken(config: Path) -> None:
    config.write_text("[remote\n")


@pytest.mark.parametrize("spoil", [huge, many, endless, never, broken])
async def test_an_agents_settings_of_git_do_not_keep_others_waiting(homes, tmp_path, spoil):
    """git reads what an agent wrote: it may be huge, endless or never come."""
    remote = {"remote": "https://gitlab.agency.example/agents/x.git"}
    mine, other = agent(homes, **remote), agent(homes, "qa", OTHER, **remote)
    await converge(homes, tmp_path, mine, other)
    spoil(homes / "agent-pm" / "agent-space" / ".git" / "config")
    (homes / "agent-pm").chmod(0o755)
    (homes / "agent-qa" / "agent-space" / "SOUL.md").unlink()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    report = await asyncio.wait_for(converge(homes, tmp_path, mine, other), 60)
    assert report.outcome is Outcome.FAILED
    assert [failure.change.part for failure in report.failures] == ["agent pm"]
    assert {change.what for change in report.applied} == {
        "agent-pm mode",  # the home is closed all the same
        "agent-qa/agent-space/SOUL.md file",
    }
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 48 * 1024


@pytest.mark.parametrize("name", ["agent-space", "agent-space/logs", "agent-space/SOUL.md"])
async def test_a_link_to_somebody_elses_place_is_not_followed(homes, tmp_path, name):
    """The agent replaces something of its own by a link to what only root may write."""
    await converge(homes, tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    place = homes / "agent-pm" / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(precious)
    before = tree(precious)

    report = await converge(homes, tmp_path)
    assert (report.outcome, int(report.exit_code)) == (Outcome.FAILED, 1)
    assert "a symbolic link is in its place" in report.failures[0].error.message
    assert tree(precious) == before
    assert place.is_symlink()


async def test_a_fifo_in_place_of_a_file_neither_blocks_nor_is_removed(homes, tmp_path):
    await converge(homes, tmp_path)
    place = homes / "agent-pm" / "agent-space" / "SOUL.md"
    place.unlink()
    os.mkfifo(place)
    report = await asyncio.wait_for(converge(homes, tmp_path), 20)
    assert report.outcome is Outcome.FAILED
    assert stat.S_ISFIFO(place.stat().st_mode)


async def test_a_second_name_of_a_root_file_is_not_given_to_the_agent(homes, tmp_path):
    await converge(homes, tmp_path)
    secret = homes / "root-file"
    secret.write_text("root's")
    secret.chmod(0o644)
    place = homes / "agent-pm" / "agent-space" / "SOUL.md"
    place.unlink()
    place.hardlink_to(secret)
    report = await converge(homes, tmp_path)
    assert report.outcome is Outcome.FAILED
    assert secret.stat().st_uid == 0


async def test_a_file_that_the_agent_cannot_read_is_not_given_to_it(homes, tmp_path):
    """The agent may rename root's file within its own directory; that must not open it."""
    await converge(homes, tmp_path)
    space = homes / "agent-pm" / "agent-space"
    (space / "backup").write_text("root's")
    (space / "backup").chmod(0o600)
    assert as_agent("mv", "-f", str(space / "backup"), str(space / "SOUL.md")).returncode == 0
    report = await converge(homes, tmp_path)
    assert report.outcome is Outcome.FAILED
    assert (space / "SOUL.md").stat().st_uid == 0


def test_what_is_exchanged_between_the_look_and_the_gift_is_not_given(homes):
    secret = homes / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    with guarded.directory(homes) as place:
        with pytest.raises(GuardedError, match="changed since it was examined"):
            guarded.give(place, "secret", uid=UID, gid=GID)
        (homes / "link").symlink_to("secret")
        with pytest.raises(GuardedError):
            guarded.give(place, "link", uid=UID, gid=GID)
    assert secret.stat().st_uid == 0


def test_a_file_is_never_written_over_nor_seen_half_made(homes, monkeypatch):
    (homes / "SOUL.md").write_text("mine")
    with guarded.directory(homes) as place:
        with pytest.raises(GuardedError):
            guarded.make_file(place, "SOUL.md", b"new", uid=UID, gid=GID)
        assert (homes / "SOUL.md").read_text() == "mine"

        def crash(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", crash)
        with pytest.raises(GuardedError, match="No space left"):
            guarded.make_file(place, "TASKS.yaml", b"new", uid=UID, gid=GID)
    assert {path.name for path in homes.iterdir()} == {"SOUL.md"}


async def test_git_runs_as_the_agent_and_never_as_root(homes, tmp_path):
    """What a repository can make git run (hooks, fsmonitor) is then no more than the agent's."""
    seen = homes / "seen"
    seen.touch()
    seen.chmod(0o666)
    wrapper = homes / "git"
    wrapper.write_text(
        f'#!/bin/sh\n{shutil.which("id")} -u >> {seen}\nexec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    settings = AgentWorkspacesSettings.model_validate(
        {
            "domain": "agency.example",
            "operators": ["@alice:agency.example"],
            "agents": [agent(homes, remote="https://gitlab.agency.example/agents/pm.git")],
        }
    )
    reconciler = AgentWorkspaces(settings, Repository(str(wrapper)))
    report = await Engine("agent-workspaces", reconciler, tmp_path).run()
    assert report.outcome is Outcome.CHANGED
    assert len(seen.read_text().split()) >= 3  # init, remote add, and a look at it
    assert set(seen.read_text().split()) == {str(UID)}


async def test_one_agents_trouble_does_not_keep_the_others_waiting(homes, tmp_path):
    (homes / "agent-pm").symlink_to(tmp_path)
    report = await converge(homes, tmp_path, agent(homes), agent(homes, "dev", OTHER))
    assert report.outcome is Outcome.FAILED
    assert {failure.change.part for failure in report.failures} == {"agent pm"}
    assert (homes / "agent-dev" / "agent-space" / "SOUL.md").exists()
    assert not (tmp_path / "agent-space").exists()


async def test_a_run_that_ended_half_way_is_finished_by_the_next(homes, tmp_path, monkeypatch):
    def crash(*_args, **_kw):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", crash)
        assert (await converge(homes, tmp_path)).outcome is Outcome.FAILED
    # and a directory was made and not yet given away
    (homes / "agent-pm" / "agent-space" / "logs").rmdir()
    (homes / "agent-pm" / "agent-space" / "logs").mkdir(mode=0o700)
    assert (await converge(homes, tmp_path)).outcome is Outcome.CHANGED
    assert {p.stat().st_uid for p in (homes / "agent-pm").rglob("*")} == {UID}


async def test_two_runs_at_once_agree(homes, tmp_path):
    reports = await asyncio.gather(*[converge(homes, tmp_path) for _ in range(2)])
    assert sorted(r.outcome for r in reports) == [Outcome.CHANGED, Outcome.UNCHANGED]


@pytest.mark.parametrize(
    "wrong",
    [
        {"home": "relative/home"}, {"home": "/home/../etc"}, {"uid": 0},
        {"fullName": "two\nlines"}, {"remote": "--upload-pack=x"}, {"remote": "ext::sh -c id"},
        {"shell": "/bin/sh"},
    ],
)  # fmt: skip
def test_settings_that_could_mislead_are_refused(homes, wrong):
    base = {"domain": "x.example", "operators": ["@a:x.example"]}
    AgentWorkspacesSettings.model_validate({**base, "agents": [agent(homes)]})
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AgentWorkspacesSettings.model_validate({**base, "agents": [agent(homes) | wrong]})
