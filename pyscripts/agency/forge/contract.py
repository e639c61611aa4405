"""Contract of a forge: the calls that every forge supports, in one set of words.

A merge request is what Gitea calls a pull request. A project is named by its path, such as
`team/app`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

MOST = 1000  # objects that one call reads of a list


@dataclass(frozen=True, slots=True)
class User:
    """An account; `name` is what people write after an @."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Project:
    """A repository and what belongs to it."""

    id: int
    path: str
    default_branch: str
    clone_url: str
    web_url: str


class Access(StrEnum):
    """Powers over a project, each with those before it."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, wanted: Access) -> bool:
        """Return whether who has this access may do what takes `wanted`."""
        order = list(Access)
        return order.index(self) >= order.index(wanted)


class MergeState(StrEnum):
    """The states of a merge request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """Proposed change.

    `head_ref` is the ref of the *target* project that holds the newest commit, `head_sha`, also
    for a change from a fork. `from_fork` is there for a branch of another project, `head_gone` if
    the forge knows that the branch is not there any more.
    """

    number: int
    title: str
    state: MergeState
    author: User
    target_branch: str
    head_ref: str
    head_sha: str
    web_url: str
    from_fork: bool = False
    head_gone: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a merge request or an issue. Its moments are those of the forge's clock."""

    id: int
    author: User
    text: str
    created: datetime | None = None
    updated: datetime | None = None

    @property
    def edited(self) -> bool:
        """True unless the forge says that it is as it was made."""
        return self.created is None or self.created != self.updated


@dataclass(frozen=True, slots=True)
class RequestComment:
    """A comment, and the number of the merge request that it is on."""

    number: int
    comment: Comment


@dataclass(frozen=True, slots=True)
class NewComments:
    """Comments since a moment; `more_since` is the moment to read on from, if there are more."""

    comments: tuple[RequestComment, ...]
    more_since: datetime | None = None


class Reaction(StrEnum):
    """Reactions that every forge knows."""

    SEEN = "eyes"
    YES = "+1"
    NO = "-1"
    STARTED = "rocket"


@dataclass(frozen=True, slots=True)
class NewMergeRequest:
    """Merge request to be made, of a branch of the project itself."""

    title: str
    text: str
    source_branch: str
    target_branch: str


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue of a project."""

    number: int
    title: str
    text: str
    author: User
    open: bool
    labels: tuple[str, ...]
    web_url: str


class HookEvent(StrEnum):
    """Kinds of events of which a hook tells."""

    PUSH = "push"
    MERGE_REQUEST = "merge-request"
    COMMENT = "comment"


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook of a project; nobody can read its secret again."""

    id: int
    url: str
    events: frozenset[HookEvent]


class CommitState(StrEnum):
    """The states of a check of a commit."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """The result of a check of a commit; `name` tells checks of one commit apart."""

    name: str
    state: CommitState
    description: str = ""
    target_url: str | None = None


def newest_by_name(found: Iterable[tuple[int, CommitStatus]]) -> list[CommitStatus]:
    """Return the status with the highest id of each name, by name."""
    newest: dict[str, tuple[int, CommitStatus]] = {}
    for number, status in found:
        if number > newest.get(status.name, (0, status))[0]:
            newest[status.name] = (number, status)
    return [newest[name][1] for name in sorted(newest)]


class Forge(Protocol):
    """Forge, called as the user of one token.

    Every method raises ForgeError when the forge refuses, ForgeUnreachableError when it is silent.
    """

    async def current_user(self) -> User:
        """Read the account of the token."""

    async def project(self, path: str) -> Project:
        """Read a project."""

    async def merge_request(self, project: str, number: int) -> MergeRequest:
        """Read a merge request of a project."""

    async def comment(self, project: str, number: int, text: str) -> Comment:
        """Comment on a merge request."""

    async def set_status(self, project: str, sha: str, status: CommitStatus) -> None:
        """Set the status of a check of a commit."""

    async def statuses(self, project: str, sha: str) -> list[CommitStatus]:
        """Read the newest status of each check of a commit, by name."""

    async def branch_sha(self, project: str, branch: str) -> str:
        """Read the newest commit of a branch."""

    async def open_merge_requests(self, project: str) -> list[MergeRequest]:
        """Read the open merge requests of a project, at most MOST of them."""

    async def open_merge_request(self, project: str, new: NewMergeRequest) -> MergeRequest:
        """Make a merge request."""

    async def merge(self, project: str, number: int, head_sha: str, *, squash: bool) -> None:
        """Merge a request if `head_sha` still is its newest commit."""

    async def comments(self, project: str, number: int) -> list[Comment]:
        """Read the comments on a merge request, oldest first, without the forge's own notes."""

    async def comments_since(self, project: str, since: datetime) -> NewComments:
        """Read the comments on merge requests made or edited at `since` or later, oldest first.

        `since` is a moment of the forge's clock (`now`).
        """

    async def now(self) -> datetime:
        """Read the forge's clock, in whole seconds."""

    async def is_member(self, group: str, user: User) -> bool:
        """Return whether an account is a member of an organisation or group, by any way.

        A forge tells that to members. A group that is not there has none. At GitLab, a member is
        who may write.
        """

    async def pushed_after(self, project: str, number: int, comment: Comment) -> bool:
        """Return whether a merge request got commits after a comment on it.

        A push just before the comment may count, too: forges note pushes with a delay.
        """

    async def edit_comment(self, project: str, number: int, comment: int, text: str) -> None:
        """Replace the text of a comment of one's own on a merge request."""

    async def react(self, project: str, number: int, comment: int, reaction: Reaction) -> None:
        """React to a comment on a merge request; a second time changes nothing."""

    async def access(self, project: str, name: str) -> Access:
        """Read an account's access to a project, whatever it comes from.

        A forge tells that to those who may administer the project.
        """

    async def open_issues(self, project: str) -> list[Issue]:
        """Read the open issues of a project, at most MOST of them."""

    async def open_issue(
        self, project: str, title: str, text: str, labels: Sequence[str] = ()
    ) -> Issue:
        """Make an issue; labels that the project lacks are made."""

    async def comment_issue(self, project: str, number: int, text: str) -> Comment:
        """Comment on an issue."""

    async def close_issue(self, project: str, number: int) -> None:
        """Close an issue."""

    async def hooks(self, project: str) -> list[Hook]:
        """Read the hooks of a project."""

    async def add_hook(
        self, project: str, url: str, secret: str, events: frozenset[HookEvent]
    ) -> Hook:
        """Make a hook, whose calls prove themselves by `secret` (`agency.forge.hooks`)."""

    async def remove_hook(self, project: str, hook: int) -> None:
        """Remove a hook."""
