"""Taking over a remote, with real git: over HTTP where it matters that it is one."""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from binding import free_port
from repositories import git

from agency.errors import BadInputError
from agency.programs import ProgramError
from agency.workspace import Identity, Repository, Signature, files
from agency.workspace.scaffold import adopt as module
from agency.workspace.scaffold.adopt import Adopter, Taken, UnreachableError, read_remote

WHO = Identity(
    name="pm", role="pm", full_name="Petra Maier", matrix_id="@agent-pm:agency.example",
    email="pm@agency.example", domain="agency.example", operators=("@alice:agency.example",),
)  # fmt: skip
PRISTINE = files(WHO)


class Space:
    """A scaffolded workspace as the reconciler makes it, and its remote."""

    def __init__(self, directory: Path) -> None:
        self.place = directory / "home" / "agent-space"
        self.remote = directory / "remote.git"
        self.work = directory / "work"
        self.place.mkdir(parents=True)
        for name, content in PRISTINE.items():
            (self.place / name).write_text(content)
        for name in (".repos", "logs"):
            (self.place / name).mkdir()
        self.repository = Repository(shutil.which("git"))
        mine = os.geteuid(), os.getegid()
        self.repository.init(self.place, *mine, Signature("Petra Maier", "pm@agency.example"))
        git(directory, "init", "-q", "--bare", "--initial-branch=trunk", str(self.remote))
        self.repository.add_origin(self.place, f"file://{self.remote}", *mine)

    def at(self, url: str) -> None:
        git(self.place, "remote", "set-url", "origin", url)

    def fill(self, **content: str) -> str:
        """Commit to the remote; returns the commit."""
        if not self.work.exists():
            git(self.remote.parent, "clone", "-q", str(self.remote), str(self.work))
        for name, text in content.items():
            file = self.work / name.replace("__", "/").replace("_md", ".md")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", "--allow-empty", "-m", "more")
        git(self.work, "push", "-q", "origin", "HEAD:trunk")
        return git(self.work, "rev-parse", "HEAD").strip()

    def adopt(self, *protocols: str):
        protocols = protocols or ("file",)
        adopter = Adopter(shutil.which("git"), self.place, self.place.parent, protocols)
        return adopter.adopt(PRISTINE)

    def status(self) -> list[str]:
        return git(self.place, "status", "--porcelain").splitlines()


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path)


def test_a_filled_remote_is_cloned_and_the_scaffold_gives_way(space):
    commit = space.fill(SOUL_md="I am Petra.\n", src__app="code\n", other="x\n")
    done = space.adopt()
    assert (done.taken, done.branch, done.kept) == (Taken.CLONED, "trunk", ())
    assert git(space.place, "rev-parse", "HEAD", "@{u}").split() == [commit, commit]
    assert git(space.place, "branch", "--show-current").strip() == "trunk"
    assert (space.place / "SOUL.md").read_text() == "I am Petra.\n"
    assert (space.place / "src/app").read_text() == "code\n"
    assert all(line.startswith("?? ") for line in space.status())  # what only the scaffold has
    newer = space.fill(other="y\n")
    git(space.place, "pull", "-q", "--ff-only")
    assert git(space.place, "rev-parse", "HEAD").strip() == newer


def test_it_is_done_once(space):
    space.fill(SOUL_md="I am Petra.\n")
    space.adopt()
    (space.place / "SOUL.md").write_text("I am somebody else.\n")
    git(space.place, "commit", "-aqm", "mine")
    before = git(space.place, "log", "--format=%H")
    assert space.adopt().taken is Taken.ALREADY
    assert git(space.place, "log", "--format=%H") == before
    assert (space.place / "SOUL.md").read_text() == "I am somebody else.\n"


def test_an_empty_remote_leaves_the_scaffold_and_takes_its_first_push(space):
    assert space.adopt().taken is Taken.EMPTY
    assert (space.place / "SOUL.md").read_text() == PRISTINE["SOUL.md"]
    git(space.place, "add", "-A")
    git(space.place, "commit", "-qm", "first")
    git(space.place, "push", "-q", "-u", "origin", "main")
    assert space.adopt().taken is Taken.ALREADY


def test_the_author_is_the_agent(space):
    (space.place / "SOUL.md").write_text("new")
    subprocess.run(
        ["git", "-C", space.place, "commit", "-qm", "x", "--allow-empty"],
        check=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    author = git(space.place, "log", "--format=%an <%ae>").strip()
    assert author == "Petra Maier <pm@agency.example>"


def test_what_the_agent_changed_is_kept_and_told(space):
    space.fill(SOUL_md="theirs\n", HUMAN_md="theirs\n", link="theirs\n", logs="a file\n")
    (space.place / "SOUL.md").write_text("mine\n")
    (space.place / "link").symlink_to("/etc/passwd")
    done = space.adopt()
    assert sorted(done.kept) == ["SOUL.md", "link", "logs"]
    assert (space.place / "SOUL.md").read_text() == "mine\n"
    assert (space.place / "HUMAN.md").read_text() == "theirs\n"
    assert (space.place / "logs").is_dir()
    assert " M SOUL.md" in space.status()


def test_commits_of_another_history_are_for_a_person(space):
    space.fill(SOUL_md="theirs\n")
    git(space.place, "add", "-A")
    git(space.place, "commit", "-qm", "mine")
    before = git(space.place, "rev-parse", "HEAD")
    with pytest.raises(BadInputError, match="commits of its own"):
        space.adopt()
    assert git(space.place, "rev-parse", "HEAD") == before


@pytest.mark.parametrize(
    "last",
    [pytest.param(n, marks=() if n % 4 == 1 else pytest.mark.thorough) for n in range(1, 14)],
)
def test_a_run_that_was_cut_off_is_finished_by_the_next(space, monkeypatch, last):
    commit = space.fill(SOUL_md="theirs\n", src__app="code\n")
    calls, real = [], module.run_to_end

    def cut(argv, **more):
        calls.append(argv)
        if len(calls) > last:
            raise KeyboardInterrupt
        return real(argv, **more)

    with monkeypatch.context() as patched:
        patched.setattr(module, "run_to_end", cut)
        try:
            space.adopt()
        except KeyboardInterrupt:
            pass
        else:
            assert last > 10
    assert space.adopt().taken in {Taken.CLONED, Taken.ALREADY}
    assert git(space.place, "rev-parse", "HEAD").strip() == commit
    assert (space.place / "SOUL.md").read_text() == "theirs\n"
    assert (space.place / "src/app").read_text() == "code\n"


def test_a_maze_of_links_leads_nowhere(space, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (space.place / "src").symlink_to(outside)
    space.fill(src__app="code\n")
    space.work.joinpath("up").symlink_to("../../outside")
    space.work.joinpath("loop").symlink_to("loop")
    space.fill(z="z")
    space.adopt()
    assert list(outside.iterdir()) == []
    assert (space.place / "up").is_symlink()


def test_no_hook_and_no_filter_of_a_repository_runs(space, tmp_path):
    """Hooks are not cloned; one that lies here already, and a filter's name, run nothing."""
    told = tmp_path / "ran"
    hooks = space.place / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-push"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {told}\n")
        (hooks / name).chmod(0o755)
    space.fill(**{".gitattributes": "* filter=evil\n", "a": "b\n"})
    space.adopt()
    assert not told.exists()
    git(space.place, "commit", "-q", "--allow-empty", "-m", "control")
    assert told.exists()  # by a git that follows the repository's hooks, they do run


@pytest.fixture
def served(space: Space) -> None:
    """The remote over HTTP, which a static file server can."""
    port = free_port()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(space.remote.parent))
    handler.func.log_message = lambda *_: None
    space.at(f"http://127.0.0.1:{port}/remote.git")
    space.server = lambda: ThreadingHTTPServer(("127.0.0.1", port), handler)


def test_a_remote_that_is_away_is_tried_again(space, served):
    commit = space.fill(SOUL_md="theirs\n")
    git(space.remote, "update-server-info")
    with pytest.raises(UnreachableError, match="cannot be read"):
        space.adopt("http")
    assert (space.place / "SOUL.md").read_text() == PRISTINE["SOUL.md"]
    with space.server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert space.adopt("http").taken is Taken.CLONED
        server.shutdown()
    assert git(space.place, "rev-parse", "HEAD").strip() == commit


def test_a_remote_that_never_answers_is_unreachable(space, monkeypatch):
    def silent(argv, **_):
        raise ProgramError("no end after 60 s")

    monkeypatch.setattr(module, "run_to_end", silent)
    with pytest.raises(UnreachableError, match="no end"):
        space.adopt()


@pytest.mark.parametrize("url", ["ext::sh -c 'touch {}'", "file:///etc", "http://127.0.0.1:1/x"])
def test_only_https_and_ssh_are_spoken(space, tmp_path, url):
    told = tmp_path / "ran"
    space.at(url.format(told))
    with pytest.raises(UnreachableError, match="not allowed"):
        space.adopt("https", "ssh")
    assert not told.exists()


def test_the_default_branch_is_found():
    one, two = "1" * 40, "2" * 40
    assert read_remote("").default is None
    assert read_remote(f"ref: refs/heads/dev\tHEAD\n{one}\tHEAD\n{one}\trefs/heads/dev\n"
                       f"{two}\trefs/heads/main\n").default == "dev"  # fmt: skip
    assert read_remote(f"ref: refs/heads/gone\tHEAD\n{two}\trefs/heads/main\n").default == "main"
    assert read_remote(f"{two}\trefs/heads/only\nnonsense\n").default == "only"


def test_the_command_as_its_unit_calls_it(space, tmp_path):
    def run(remote: str | None) -> tuple[int, str]:
        told = {
            "fullName": WHO.full_name, "email": WHO.email, "matrixId": WHO.matrix_id,
            "domain": WHO.domain, "operators": list(WHO.operators), "remote": remote,
        }  # fmt: skip
        about = {"name": "pm", "role": "pm", "home": str(space.place.parent), "workspace": told}
        (tmp_path / "pm.json").write_text(json.dumps(about))
        argv = [sys.executable, "-m", "agency", "workspace", "clone", "pm", "--json"]
        done = subprocess.run(
            [*argv, "--settings", str(tmp_path)], capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    assert run(None)[0] == 0
    space.at("https://127.0.0.1:1/x.git")
    status, output = run("https://127.0.0.1:1/x.git")
    assert status == 3, output
    assert "UnreachableError" in output
