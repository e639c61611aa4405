"""Work under the contract: the command, the review of what it committed, and a tidy exit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agency.children import ChildSpec, kill_marked, start_child
from agency.clock import new_id
from agency.errors import AgencyError
from agency.programs import Bounds, find_program
from agency.workspace.contract.preflight import Cleared, clear, enter
from agency.workspace.contract.repository import HOOKS, Checkout, check_hooks, contract_env
from agency.workspace.logs import prune
from agency.workspace.scaffold.repository import Signature

_LOG = logging.getLogger(__name__)
_GRACE_S = 10.0
_BOUNDS = Bounds(file_bytes=1024**3)
_REVIEW_BOUNDS = Bounds(file_bytes=256 * 1024**2)  # its log is such a file, too
_TAIL_LINES, _TAIL_BYTES = 100, 32 * 1024
_MOST_COMMITS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Terms of one piece of work; each of `reviews` is the argv of a check of the commits."""

    branch: str
    author: Signature
    command: Sequence[str]
    reviews: Sequence[Sequence[str]] = ()
    max_reviews: int = 2
    timeout_s: float = 3600.0
    env: Mapping[str, str] = field(default_factory=dict)
    hooks: Path = HOOKS


@dataclass(slots=True)
class Summary:
    """Outcome of the work. `ok`: there are commits, they passed, and the contract was kept."""

    branch: str
    base: str
    head: str = ""
    commits: list[str] = field(default_factory=list)
    status: int | None = None
    breaches: list[str] = field(default_factory=list)
    rounds: int = 0
    failed_review: str | None = None
    stash: str | None = None

    @property
    def ok(self) -> bool:
        """Return whether the branch can be handed in."""
        kept = not self.breaches and self.failed_review is None
        return self.status == 0 and kept and bool(self.commits)

    def as_dict(self) -> dict[str, object]:
        """Describe it as `--json` prints it."""
        return {
            "ok": self.ok,
            "branch": self.branch,
            "base": self.base,
            "head": self.head,
            "commits": self.commits,
            "status": self.status,
            "breaches": self.breaches,
            "rounds": self.rounds,
            "failed_review": self.failed_review,
            "stash": self.stash,
        }


def breaches(cleared: Cleared, refs: Mapping[str, str], branch: str, now: str | None) -> list[str]:
    """List what was changed beyond the task's branch."""
    own = {f"refs/heads/{branch}", "refs/stash"}
    names = sorted((cleared.refs.keys() | refs.keys()) - own)
    found = [f"{name} was changed" for name in names if cleared.refs.get(name) != refs.get(name)]
    if now != branch:
        found.append(f"the branch was left for {now or 'a commit'}")
    return found


@dataclass(slots=True)
class Work:
    """One piece of work in a repository; `state` holds its logs."""

    checkout: Checkout
    terms: Terms
    state: Path
    new_run: Callable[[], str] = lambda: new_id("coding")

    async def run(self) -> Summary:
        """Do it, from the pre-flight to the tidy exit.

        Raises:
            PreflightError: the repository is not ready; nothing was changed.
            AgencyError: a program is missing, or git failed.
        """
        check_hooks(self.terms.hooks)
        for argv in (self.terms.command, *self.terms.reviews):
            find_program(argv[0], hint="install it, or name it by its path")
        cleared = await asyncio.to_thread(clear, self.checkout)
        summary = Summary(self.terms.branch, cleared.base)
        await asyncio.to_thread(enter, self.checkout, cleared, self.terms.branch)
        try:
            await self._rounds(cleared, summary)
        finally:
            self.leave(cleared, summary)
        return summary

    async def _rounds(self, cleared: Cleared, summary: Summary) -> None:
        try:
            async with asyncio.timeout(self.terms.timeout_s):
                await self._until_passed(cleared, summary)
        except TimeoutError:
            summary.status = None

    async def _until_passed(self, cleared: Cleared, summary: Summary) -> None:
        finding: Path | None = None
        while True:
            more = {} if finding is None else {"AGENCY_REVIEW": str(finding)}
            summary.status, _ = await self._child(self.terms.command, _BOUNDS, more)
            self._look(cleared, summary)
            if summary.status != 0 or summary.breaches or not summary.commits:
                return
            finding = await self.review(summary)
            if finding is None or summary.rounds > self.terms.max_reviews:
                return

    async def review(self, summary: Summary) -> Path | None:
        """Run the checks; return the file with what the first failing one said."""
        summary.rounds += 1
        summary.failed_review = None
        for argv in self.terms.reviews:
            status, tail = await self._child(argv, _REVIEW_BOUNDS, {})
            if status != 0:
                summary.failed_review = f"{argv[0]}: exit status {status}"
                file = self.state / "review.txt"
                file.write_text("\n".join([" ".join(argv), *tail, ""]))
                return file
        return None

    async def _child(
        self, argv: Sequence[str], bounds: Bounds, more: Mapping[str, str]
    ) -> tuple[int, list[str]]:
        run = self.new_run()
        spec = ChildSpec(
            name=argv[0],
            argv=[*bounds.prefix(), find_program(argv[0], hint="install it"), *argv[1:]],
            env={
                "HOME": str(self.checkout.home),
                **self.terms.env,
                **more,
                **contract_env(self.terms.branch, self.terms.author, self.terms.hooks),
            },
            cwd=self.checkout.place,
            log_path=self.state / f"{run}.log",
        )
        child = await start_child(spec, marker=run)
        try:
            status = await child.wait()
            return status, list(child.log_tail(_TAIL_LINES, _TAIL_BYTES))
        finally:
            await child.stop(_GRACE_S)
            await asyncio.to_thread(kill_marked, run, _GRACE_S)
            prune(self.state, "*.log")

    def _look(self, cleared: Cleared, summary: Summary) -> None:
        refs = self.checkout.refs()
        summary.breaches = breaches(cleared, refs, self.terms.branch, self.checkout.branch())
        summary.head = refs.get(f"refs/heads/{self.terms.branch}", "")
        if summary.head:
            span = f"{cleared.base}..{summary.head}"
            listed = self.checkout.must("log", "--format=%h %s", f"-{_MOST_COMMITS}", span)
            summary.commits = listed.splitlines()

    def leave(self, cleared: Cleared, summary: Summary) -> None:
        """Stash what is not committed, and go back to where the repository was."""
        try:
            self._look(cleared, summary)
            if self.checkout.changes():
                message = f"agency: left over of {self.terms.branch}"
                author = ("-c", f"user.name={self.terms.author.name}",
                          "-c", f"user.email={self.terms.author.email}")  # fmt: skip
                self.checkout.must(
                    *author, "stash", "push", "--quiet", "--include-untracked", "-m", message
                )
                summary.stash = self.checkout.must("rev-parse", "refs/stash")
            back = cleared.origin_branch
            where = ["--no-guess", back] if back else ["--detach", cleared.base]
            self.checkout.must("switch", "--quiet", *where)
        except AgencyError as error:
            _LOG.warning("the repository could not be left tidy: %s", error)
            summary.breaches.append(f"it could not be left tidy: {error.message}")
