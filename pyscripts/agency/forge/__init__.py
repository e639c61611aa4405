"""Forges behind one contract: GitLab and Gitea."""

from __future__ import annotations

from agency.forge.contract import (
    Comment,
    CommitState,
    CommitStatus,
    Forge,
    MergeRequest,
    MergeState,
    Project,
    User,
)
from agency.forge.errors import ForgeError, ForgeUnreachableError

__all__ = [
    "Comment",
    "CommitState",
    "CommitStatus",
    "Forge",
    "ForgeError",
    "ForgeUnreachableError",
    "MergeRequest",
    "MergeState",
    "Project",
    "User",
]
