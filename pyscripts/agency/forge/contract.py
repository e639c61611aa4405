"""Contract of a forge: the calls that every forge supports, in one set of words.

A merge request is what Gitea calls a pull request. A project is named by its path, such as
`team/app`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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


class MergeState(StrEnum):
    """The states of a merge request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """Proposed change.

    `head_ref` is the ref of the *target* project that holds the newest commit, `head_sha`, also
    for a change from a fork.
    """

    number: int
    title: str
    state: MergeState
    author: User
    target_branch: str
    head_ref: str
    head_sha: str
    web_url: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a merge request."""

    id: int
    author: User
    text: str


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
