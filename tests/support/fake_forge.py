"""FAKE forge in memory for the bridge: it keeps the contract's words, and faults are made at will.

The contract itself is tested on a real Gitea (tests/integration/forge), and so is the bridge.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agency.forge import (
    MOST,
    Comment,
    CommitStatus,
    ForgeError,
    MergeRequest,
    MergeState,
    NewComments,
    Project,
    Reaction,
    RequestComment,
    User,
)

BOT = User(1, "forge-bot")
ADA = User(2, "ada")
EVE = User(3, "eve")
START = 1_800_000_000


def sha(text: str) -> str:
    return (text.encode().hex() * 40)[:40]


@dataclass
class FakeForge:
    """Projects `team/wiki` and others: comments, requests, and who is a member of `team`."""

    time_s: int = START
    requests: dict[tuple[str, int], MergeRequest] = field(default_factory=dict)
    said: dict[str, list[RequestComment]] = field(default_factory=dict)
    statuses: list[tuple[str, str, CommitStatus]] = field(default_factory=list)
    reactions: list[tuple[str, int, Reaction]] = field(default_factory=list)
    edits: Counter[int] = field(default_factory=Counter)
    members: set[str] = field(default_factory=lambda: {"ada"})
    pushed: set[tuple[str, int]] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    fault: Callable[[str, str], Exception | None] = lambda _call, _project: None
    lost_answers: int = 0  # comments that the forge takes, and answers with silence
    ids: int = 100

    def open(self, project: str = "team/wiki", number: int = 7, **other: object) -> MergeRequest:
        made = MergeRequest(
            number=number,
            title="Change",
            state=MergeState.OPEN,
            author=ADA,
            target_branch="main",
            head_ref=f"refs/pull/{number}/head",
            head_sha=sha("a"),
            web_url="https://forge.example.org/x",
        )
        self.requests[project, number] = replace(made, **other)  # type: ignore[arg-type]
        return self.requests[project, number]

    def say(
        self, text: str, by: User = ADA, project: str = "team/wiki", number: int = 7, ago_s: int = 0
    ) -> int:
        """Write a comment, as a person does in a browser."""
        self.ids += 1
        at = datetime.fromtimestamp(self.time_s - ago_s, UTC)
        self.said.setdefault(project, []).append(
            RequestComment(number, Comment(self.ids, by, text, at, at))
        )
        return self.ids

    def change(self, comment: int, text: str, project: str = "team/wiki") -> None:
        """Edit a comment, as its author does."""
        at = datetime.fromtimestamp(self.time_s, UTC)
        self.said[project] = [
            replace(each, comment=replace(each.comment, text=text, updated=at))
            if each.comment.id == comment
            else each
            for each in self.said[project]
        ]

    def answers(self, project: str = "team/wiki") -> list[str]:
        """Return the texts of the bot's comments."""
        return [c.comment.text for c in self.said.get(project, []) if c.comment.author == BOT]

    def _call(self, name: str, project: str = "") -> None:
        self.calls[name] += 1
        fault = self.fault(name, project)
        if fault is not None:
            raise fault

    async def current_user(self) -> User:
        self._call("current_user")
        return BOT

    async def now(self) -> datetime:
        self._call("now")
        return datetime.fromtimestamp(self.time_s, UTC)

    async def project(self, path: str) -> Project:
        self._call("project", path)
        url = f"https://forge.example.org/{path}"
        return Project(1, path, "main", f"{url}.git", url)

    async def merge_request(self, project: str, number: int) -> MergeRequest:
        self._call("merge_request", project)
        return self.requests[project, number]

    async def comments_since(self, project: str, since: datetime) -> NewComments:
        self._call("comments_since", project)
        found = [c for c in self.said.get(project, []) if (c.comment.updated or since) >= since]
        cut = len(found) > MOST
        return NewComments(tuple(found[:MOST]), found[MOST].comment.created if cut else None)

    async def is_member(self, group: str, user: User) -> bool:
        self._call("is_member", group)
        await asyncio.sleep(0)
        return group == "team" and user.name in self.members

    async def pushed_after(self, project: str, number: int, comment: Comment) -> bool:
        self._call("pushed_after", project)
        return (project, comment.id) in self.pushed

    async def comment(self, project: str, number: int, text: str) -> Comment:
        self._call("comment", project)
        made = self.say(text, BOT, project, number)
        if self.lost_answers:
            self.lost_answers -= 1
            raise ForgeError("HTTP 502", where="POST", status=502)
        return next(c.comment for c in self.said[project] if c.comment.id == made)

    async def edit_comment(self, project: str, number: int, comment: int, text: str) -> None:
        self._call("edit_comment", project)
        self.edits[comment] += 1
        self.change(comment, text, project)

    async def react(self, project: str, number: int, comment: int, reaction: Reaction) -> None:
        self._call("react", project)
        self.reactions.append((project, comment, reaction))

    async def set_status(self, project: str, sha: str, status: CommitStatus) -> None:
        self._call("set_status", project)
        self.statuses.append((project, sha, status))
