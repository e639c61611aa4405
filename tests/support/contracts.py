"""Repositories under the coding contract, as tests make them."""

from __future__ import annotations

import shutil
from pathlib import Path

from repositories import git

from agency.workspace.contract.repository import Checkout
from agency.workspace.contract.work import Summary, Terms, Work
from agency.workspace.scaffold.repository import Signature

BRANCH = "agent-pm/mend-it"
AUTHOR = Signature("Petra Maier", "agent-pm@agency.example")
COMMIT = "echo more >> app; git add app; git commit -qm 'Mend it'; "


class Bench:
    """A repository in an agent's workspace, with a bare remote."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.repos = self.home / "agent-space" / ".repos"
        self.place = self.repos / "app"
        self.remote = directory / "remote.git"
        self.state = directory / "state"
        self.repos.mkdir(parents=True)
        self.state.mkdir()
        git(directory, "init", "-q", "--bare", "--initial-branch=main", str(self.remote))
        git(directory, "clone", "-q", str(self.remote), str(self.place))
        (self.place / "app").write_text("code\n")
        git(self.place, "add", "-A")
        git(self.place, "commit", "-qm", "first")
        git(self.place, "push", "-q", "origin", "HEAD:main")
        git(self.place, "branch", "other")
        self.base = git(self.place, "rev-parse", "HEAD").strip()

    @property
    def checkout(self) -> Checkout:
        return Checkout(str(shutil.which("git")), self.place, self.home)

    async def work(self, script: str, **more) -> Summary:
        """Run a shell script under the contract."""
        terms = Terms(branch=BRANCH, author=AUTHOR, command=["sh", "-c", script], **more)
        return await Work(self.checkout, terms, self.state).run()

    def heads(self) -> dict[str, str]:
        """Branches, here and at the remote."""
        form = "--format=%(refname:short) %(objectname)"
        here = git(self.place, "for-each-ref", form, "refs/heads").splitlines()
        there = git(self.remote, "for-each-ref", form, "refs/heads").splitlines()
        found = dict(line.split() for line in here)
        return found | {f"remote {line.split()[0]}": line.split()[1] for line in there}

    def said(self) -> str:
        """All that commands printed."""
        return "".join(path.read_text() for path in sorted(self.state.glob("*.log")))
