"""GitLab behind the contract of a forge. python-gitlab blocks, so its calls run in threads.

Source: GitLab's doc/api/users.md, projects.md, merge_requests.md, notes.md and commits.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import gitlab

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
from agency.forge.errors import ForgeError, field_of
from agency.forge.gitlab.api import GitlabApi, GitlabError
from agency.forge.gitlab.session import TIMEOUT_S, BoundedSession

_STATES = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "running",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
}


_MERGE_STATES = {
    "opened": MergeState.OPEN,
    "locked": MergeState.OPEN,  # while it is being merged
    "merged": MergeState.MERGED,
    "closed": MergeState.CLOSED,
}


@dataclass(frozen=True, slots=True)
class GitlabForge:
    """GitLab, called as the user of one token."""

    api: GitlabApi

    async def current_user(self) -> User:
        """Read the account of the token."""
        return _user(await self._read("/user"))

    async def project(self, path: str) -> Project:
        """Read a project."""
        found = await self._read(_project_path(path))
        return Project(
            id=field_of(found, int, "id"),
            path=field_of(found, str, "path_with_namespace"),
            default_branch=found.get("default_branch") or "",  # none in an empty repository
            clone_url=field_of(found, str, "http_url_to_repo"),
            web_url=field_of(found, str, "web_url"),
        )

    async def merge_request(self, project: str, number: int) -> MergeRequest:
        """Read a merge request of a project."""
        found = await self._read(f"{_project_path(project)}/merge_requests/{number}")
        state = _MERGE_STATES.get(field_of(found, str, "state"))
        if state is None:
            raise ForgeError(f"unknown state {found['state']!r:.40}", where=f"{project}!{number}")
        return MergeRequest(
            number=field_of(found, int, "iid"),
            title=field_of(found, str, "title"),
            state=state,
            author=_user(found.get("author") or {}),
            target_branch=field_of(found, str, "target_branch"),
            head_ref=f"refs/merge-requests/{number}/head",
            head_sha=field_of(found, str, "sha"),
            web_url=field_of(found, str, "web_url"),
        )

    async def comment(self, project: str, number: int, text: str) -> Comment:
        """Comment on a merge request."""
        path = f"{_project_path(project)}/merge_requests/{number}/notes"
        made = await asyncio.to_thread(self.api.post, path, {"body": text})
        author = _user(made.get("author") or {})
        return Comment(field_of(made, int, "id"), author, field_of(made, str, "body"))

    async def set_status(self, project: str, sha: str, status: CommitStatus) -> None:
        """Set the status of a check of a commit."""
        body = {
            "state": _STATES[status.state],
            "name": status.name,
            "description": status.description,
        }
        if status.target_url is not None:
            body["target_url"] = status.target_url
        path = f"{_project_path(project)}/statuses/{quote(sha, safe='')}"
        await asyncio.to_thread(self.api.post, path, body)

    async def _read(self, path: str) -> dict[str, Any]:
        found = await asyncio.to_thread(self.api.get, path)
        if found is None:
            raise GitlabError("HTTP 404", where=f"GET {path}", status=404)
        return found


@asynccontextmanager
async def gitlab_forge(url: str, token: str) -> AsyncIterator[Forge]:
    """Open a GitLab as the user of a personal, project or group access token."""
    with BoundedSession() as session:
        client = gitlab.Gitlab(url, private_token=token, timeout=TIMEOUT_S, session=session)
        yield GitlabForge(GitlabApi(url, client))


def _project_path(path: str) -> str:
    return f"/projects/{quote(path, safe='')}"


def _user(found: Mapping[str, Any]) -> User:
    return User(field_of(found, int, "id"), field_of(found, str, "username"))
