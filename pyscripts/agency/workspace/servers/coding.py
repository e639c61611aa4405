"""Coding tools: one repository, one branch for each task, under the coding contract.

begin ─▶ pre-flight, branch agent-NAME/SLUG ─▶ read, write, check, commit ... ─▶ end: tidy exit

There is no tool to push, to change another branch, or to run a command: `check` runs those that the
instance configures. What began is on disk, so that a server that was ended goes on.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agency.errors import AgencyError, UsageError
from agency.files import private_directory, write_atomically
from agency.locks import only_one
from agency.settings import parse
from agency.workspace.config import CodingSettings, WorkspaceSettings
from agency.workspace.contract.preflight import Cleared, branch_name, clear, enter
from agency.workspace.contract.repository import Checkout
from agency.workspace.contract.work import Summary, Terms, Work
from agency.workspace.scaffold.repository import Signature
from agency.workspace.servers import tree
from agency.workspace.servers.serving import Arguments, Offer

_MOST_FILES = 500
_MAX_MESSAGE = 2000


class _Begun(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: str
    base: str
    origin_branch: str | None
    refs: dict[str, str]

    def cleared(self) -> Cleared:
        return Cleared(self.base, self.origin_branch, self.refs)


@dataclass(slots=True)
class Coding:
    """The tools, over one checkout; `state` holds logs, and what began."""

    checkout: Checkout
    terms: CodingSettings
    about: WorkspaceSettings
    state: Path

    def offers(self) -> tuple[Offer, ...]:
        """List the tools."""
        path = "below the repository, such as src/app.py"
        return (
            Offer(
                "begin",
                "Begin a task on a branch of its own, or go on with it; lists the files.",
                self.begin,
                {"slug": "the end of the branch's name: a-z, 0-9 and inner dashes"},
            ),
            Offer("read", "Read a text file.", self.read, {"path": path}),
            Offer(
                "write",
                "Write a whole text file.",
                self.write,
                {"path": path, "content": "the whole new text"},
            ),
            Offer(
                "check", "Run the checks of this repository on the files as they are.", self.check
            ),
            Offer(
                "commit",
                "Commit all changes to the task's branch.",
                self.commit,
                {"message": "first line: what changes, in the imperative"},
            ),
            Offer(
                "end",
                "End the task: stash what is not committed, leave the branch, say what came of it.",
                self.end,
            ),
        )

    async def begin(self, given: Arguments) -> str:
        """Begin a task, or go on with the one of this name."""
        branch = branch_name(self.terms.branch_prefix, given["slug"])
        begun = self._begun()
        if begun is not None and begun.branch != branch:
            raise UsageError(f"{begun.branch} has begun", hint="call `end` before another task")
        if begun is None:
            cleared = await asyncio.to_thread(clear, self.checkout)
            self._put(branch, cleared)
            await asyncio.to_thread(enter, self.checkout, cleared, branch)
        listed = await asyncio.to_thread(self.checkout.must, "ls-files")
        files = listed.splitlines()
        more = f"\n[{len(files) - _MOST_FILES} more]" if len(files) > _MOST_FILES else ""
        return f"on {branch}\n" + "\n".join(files[:_MOST_FILES]) + more

    async def read(self, given: Arguments) -> str:
        """Read a file."""
        return await asyncio.to_thread(tree.read, self.checkout.place, given["path"])

    async def write(self, given: Arguments) -> str:
        """Write a file, on the task's branch alone."""
        self._on_branch()
        await asyncio.to_thread(tree.write, self.checkout.place, given["path"], given["content"])
        return f"written: {given['path']}"

    async def check(self, _: Arguments) -> str:
        """Run the configured checks; the first that fails is a failed call with what it said."""
        work, summary = self._work(self._on_branch())
        try:
            async with asyncio.timeout(self.terms.max_wall_time):
                finding = await work.review(summary)
        except TimeoutError:
            raise AgencyError(f"no end of the checks within {self.terms.max_wall_time} s") from None
        if finding is not None:
            raise AgencyError(f"{summary.failed_review}\n{finding.read_text(errors='replace')}")
        return f"passed: {len(self.terms.reviews)} checks"

    async def commit(self, given: Arguments) -> str:
        """Commit all changes."""
        message = given["message"].strip()
        if not message or len(message) > _MAX_MESSAGE:
            raise UsageError(f"a message has 1 to {_MAX_MESSAGE} characters", where="message")
        self._on_branch()
        return await asyncio.to_thread(self._commit, message)

    def _commit(self, message: str) -> str:
        if not self.checkout.changes():
            raise UsageError("there is nothing to commit")
        self.checkout.must("add", "--all")
        name, email = f"user.name={self.about.full_name}", f"user.email={self.about.email}"
        self.checkout.must(
            *("-c", name, "-c", email, "-c", "commit.gpgSign=false"),
            *("commit", "--quiet", "--no-verify", "-m", message),
        )
        return self.checkout.must("log", "-1", "--format=%h %s")

    async def end(self, _: Arguments) -> str:
        """Leave the repository tidy; what was changed beyond the branch is told."""
        begun = self._begun()
        if begun is None:
            raise UsageError("no task has begun", hint="call `begin` first")
        work, summary = self._work(begun)
        await asyncio.to_thread(work.leave, begun.cleared(), summary)
        self._file.unlink(missing_ok=True)
        told = ("branch", "base", "head", "commits", "breaches", "stash")
        return json.dumps({name: summary.as_dict()[name] for name in told})

    def _work(self, begun: _Begun) -> tuple[Work, Summary]:
        terms = Terms(
            branch=begun.branch,
            author=Signature(self.about.full_name, self.about.email),
            command=(),
            reviews=self.terms.reviews,
        )
        return Work(self.checkout, terms, self.state), Summary(begun.branch, begun.base)

    def _on_branch(self) -> _Begun:
        begun = self._begun()
        if begun is None:
            raise UsageError("no task has begun", hint="call `begin` first")
        now = self.checkout.branch()
        if now != begun.branch:
            raise AgencyError(f"the branch was left for {now or 'a commit'}", hint="call `end`")
        return begun

    @property
    def _file(self) -> Path:
        return self.state / f"{self.checkout.place.name}.begun.json"

    def _begun(self) -> _Begun | None:
        try:
            return parse(_Begun, self._file.read_bytes(), where=str(self._file))
        except FileNotFoundError:
            return None

    def _put(self, branch: str, cleared: Cleared) -> None:
        begun = _Begun(
            branch=branch,
            base=cleared.base,
            origin_branch=cleared.origin_branch,
            refs=cleared.refs,
        )
        write_atomically(self._file, begun.model_dump_json().encode(), mode=0o600)


async def serve_coding(coding: Coding) -> None:
    """Serve the tools; no other work is done in the repository meanwhile.

    Raises:
        AgencyError: other work is done in this repository.
    """
    from agency.workspace.servers.serving import serve

    private_directory(coding.state)
    lock = coding.state / f"{coding.checkout.place.name}.lock"
    busy = AgencyError("other work is done in this repository", where=str(coding.checkout.place))
    with only_one(lock, busy):
        await serve("agency-coding", coding.offers())
