"""GitLab behind the contract of a forge. python-gitlab blocks, so its calls run in threads.

Source: GitLab's doc/api/: users.md, projects.md, branches.md, members.md, merge_requests.md,
notes.md, emoji_reactions.md, commits.md, issues.md and project_webhooks.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import gitlab

from agency.forge.contract import (
    MOST,
    Access,
    Comment,
    CommitState,
    CommitStatus,
    Forge,
    Hook,
    HookEvent,
    Issue,
    MergeRequest,
    MergeState,
    NewComments,
    NewMergeRequest,
    Project,
    Reaction,
    RequestComment,
    User,
    newest_by_name,
)
from agency.forge.errors import ForgeError, field_of, moment_of
from agency.forge.gitlab.api import GitlabApi, GitlabError
from agency.forge.gitlab.session import TIMEOUT_S, BoundedSession
from agency.forge.paging import LEAVING_OUT, read_pages

_STATES = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "running",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
}
_READ_STATES = {
    "created": CommitState.PENDING,
    "waiting_for_resource": CommitState.PENDING,
    "preparing": CommitState.PENDING,
    "scheduled": CommitState.PENDING,
    "manual": CommitState.PENDING,
    "pending": CommitState.PENDING,
    "running": CommitState.RUNNING,
    "success": CommitState.SUCCESS,
    "skipped": CommitState.SUCCESS,
    "failed": CommitState.FAILURE,
    "canceled": CommitState.FAILURE,
    "canceling": CommitState.FAILURE,
}

_MERGE_STATES = {
    "opened": MergeState.OPEN,
    "locked": MergeState.OPEN,  # while it is being merged
    "merged": MergeState.MERGED,
    "closed": MergeState.CLOSED,
}
# The least level of each; guests and planners may not read code in a private project.
_LEVELS = ((40, Access.ADMIN), (30, Access.WRITE), (20, Access.READ))
_REACTIONS = {
    Reaction.SEEN: "eyes",
    Reaction.YES: "thumbsup",
    Reaction.NO: "thumbsdown",
    Reaction.STARTED: "rocket",
}
_EVENTS = {
    HookEvent.PUSH: "push_events",
    HookEvent.MERGE_REQUEST: "merge_requests_events",
    HookEvent.COMMENT: "note_events",
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
        return _project(await self._read(_project_path(path)))

    async def create_project(self, path: str) -> Project:
        """Make an empty private project of a group or of oneself."""
        owner, _, name = path.rpartition("/")
        space = await self._read(f"/namespaces/{quote(owner, safe='')}")
        number = field_of(space, int, "id")
        body = {"name": name, "path": name, "namespace_id": number, "visibility": "private"}
        return _project(await self._post("/projects", body))

    async def branch_sha(self, project: str, branch: str) -> str:
        """Read the newest commit of a branch."""
        path = f"{_project_path(project)}/repository/branches/{quote(branch, safe='')}"
        return field_of(await self._read(path), str, "commit", "id")

    async def access(self, project: str, name: str) -> Access:
        """Read an account's access to a project, whatever it comes from."""
        accounts = await self._list("/users", {"username": name})
        ids = [
            field_of(one, int, "id")
            for one in accounts
            if field_of(one, str, "username").lower() == name.lower()
        ]
        if len(ids) != 1:
            return Access.NONE
        return await self._access_of(f"{_project_path(project)}/members/all/{ids[0]}")

    async def is_member(self, group: str, user: User) -> bool:
        """Return whether an account may write in a group, by any way."""
        path = f"/groups/{quote(group, safe='')}/members/all/{user.id}"
        return (await self._access_of(path)).covers(Access.WRITE)

    async def _access_of(self, path: str) -> Access:
        found = await asyncio.to_thread(self.api.get, path)
        if found is None or found.get("state", "active") != "active":
            return Access.NONE
        level = field_of(found, int, "access_level")
        return next((access for least, access in _LEVELS if level >= least), Access.NONE)

    async def merge_request(self, project: str, number: int) -> MergeRequest:
        """Read a merge request of a project."""
        return _merge_request(
            await self._read(f"{_project_path(project)}/merge_requests/{number}"), project
        )

    async def open_merge_requests(self, project: str) -> list[MergeRequest]:
        """Read the open merge requests of a project, at most MOST of them."""
        path = f"{_project_path(project)}/merge_requests"
        found = await self._list(path, {"state": "opened"})
        return [_merge_request(one, project) for one in found]

    async def open_merge_request(self, project: str, new: NewMergeRequest) -> MergeRequest:
        """Make a merge request."""
        body = {
            "title": new.title,
            "description": new.text,
            "source_branch": new.source_branch,
            "target_branch": new.target_branch,
        }
        made = await self._post(f"{_project_path(project)}/merge_requests", body)
        return _merge_request(made, project)

    async def merge(self, project: str, number: int, head_sha: str, *, squash: bool) -> None:
        """Merge a request if `head_sha` still is its newest commit."""
        path = f"{_project_path(project)}/merge_requests/{number}/merge"
        await asyncio.to_thread(self.api.put, path, {"sha": head_sha, "squash": squash})

    async def comments(self, project: str, number: int) -> list[Comment]:
        """Read the comments on a merge request, oldest first, without the forge's own notes."""
        return await self._notes(project, number, {"sort": "asc", "order_by": "created_at"})

    async def _notes(self, project: str, number: int, query: Mapping[str, str]) -> list[Comment]:
        path = f"{_project_path(project)}/merge_requests/{number}/notes"
        found = await self._readable(path, query)
        return [_comment(one) for one in found if one.get("system") is not True]

    async def comments_since(self, project: str, since: datetime) -> NewComments:
        """Read the comments on merge requests made or edited at `since` or later, oldest first.

        A note counts as an update of its request, so those are asked for which were updated.
        """
        query = {
            "state": "all",
            "scope": "all",
            "updated_after": since.astimezone(UTC).isoformat(timespec="seconds"),
            "order_by": "updated_at",
            "sort": "asc",
        }
        newest = {"sort": "desc", "order_by": "updated_at"}
        found: list[RequestComment] = []
        for one in await self._readable(f"{_project_path(project)}/merge_requests", query):
            number = field_of(one, int, "iid")
            found += [
                RequestComment(number, each)
                for each in await self._notes(project, number, newest)
                if each.updated is not None and each.updated >= since
            ]
        found.sort(key=lambda each: each.comment.id)
        cut = len(found) > MOST
        return NewComments(tuple(found[:MOST]), found[MOST].comment.created if cut else None)

    async def now(self) -> datetime:
        """Read the forge's clock, in whole seconds."""
        return await asyncio.to_thread(self.api.date, "/version")

    async def pushed_after(self, project: str, number: int, comment: Comment) -> bool:
        """Return whether a merge request got commits after a comment on it."""
        if comment.created is None:
            return True
        path = f"{_project_path(project)}/merge_requests/{number}/versions"
        found = await self._list(path)
        return any(moment_of(one, "created_at") > comment.created for one in found)

    async def comment(self, project: str, number: int, text: str) -> Comment:
        """Comment on a merge request."""
        path = f"{_project_path(project)}/merge_requests/{number}/notes"
        return _comment(await self._post(path, {"body": text}))

    async def edit_comment(self, project: str, number: int, comment: int, text: str) -> None:
        """Replace the text of a comment of one's own on a merge request."""
        path = f"{_project_path(project)}/merge_requests/{number}/notes/{comment}"
        await asyncio.to_thread(self.api.put, path, {"body": text})

    async def react(self, project: str, number: int, comment: int, reaction: Reaction) -> None:
        """React to a comment on a merge request; a second time changes nothing."""
        path = f"{_project_path(project)}/merge_requests/{number}/notes/{comment}/award_emoji"
        try:
            await self._post(path, {"name": _REACTIONS[reaction]})
        except GitlabError as error:
            if error.status != 404:
                raise
            mine = (await self.current_user()).name
            for one in await self._list(path):
                if (
                    one.get("name") == _REACTIONS[reaction]
                    and _user(one.get("user") or {}).name == mine
                ):
                    return  # GitLab answers 404 to a reaction that is there already
            raise

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
        await self._post(path, body)

    async def statuses(self, project: str, sha: str) -> list[CommitStatus]:
        """Read the newest status of each check of a commit, by name."""
        path = f"{_project_path(project)}/repository/commits/{quote(sha, safe='')}/statuses"
        found = await self._list(path)
        return newest_by_name((field_of(one, int, "id"), _status(one)) for one in found)

    async def open_issues(self, project: str) -> list[Issue]:
        """Read the open issues of a project, at most MOST of them."""
        found = await self._readable(f"{_project_path(project)}/issues", {"state": "opened"})
        return [_issue(one) for one in found]

    async def open_issue(
        self, project: str, title: str, text: str, labels: Sequence[str] = ()
    ) -> Issue:
        """Make an issue; GitLab makes the labels that the project lacks."""
        body = {"title": title, "description": text}
        if labels:
            body["labels"] = ",".join(labels)
        return _issue(await self._post(f"{_project_path(project)}/issues", body))

    async def comment_issue(self, project: str, number: int, text: str) -> Comment:
        """Comment on an issue."""
        path = f"{_project_path(project)}/issues/{number}/notes"
        return _comment(await self._post(path, {"body": text}))

    async def close_issue(self, project: str, number: int) -> None:
        """Close an issue."""
        path = f"{_project_path(project)}/issues/{number}"
        await asyncio.to_thread(self.api.put, path, {"state_event": "close"})

    async def hooks(self, project: str) -> list[Hook]:
        """Read the hooks of a project."""
        return [_hook(one) for one in await self._list(f"{_project_path(project)}/hooks")]

    async def add_hook(
        self, project: str, url: str, secret: str, events: frozenset[HookEvent]
    ) -> Hook:
        """Make a hook, whose calls prove themselves by `secret` (`agency.forge.hooks`)."""
        body: dict[str, Any] = {"url": url, "token": secret}
        body |= {name: event in events for event, name in _EVENTS.items()}
        return _hook(await self._post(f"{_project_path(project)}/hooks", body))

    async def remove_hook(self, project: str, hook: int) -> None:
        """Remove a hook."""
        await asyncio.to_thread(self.api.delete, f"{_project_path(project)}/hooks/{hook}")

    async def _read(self, path: str) -> dict[str, Any]:
        found = await asyncio.to_thread(self.api.get, path)
        if found is None:
            raise GitlabError("HTTP 404", where=f"GET {path}", status=404)
        return found

    async def _list(
        self, path: str, query: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        return await asyncio.to_thread(partial(self.api.list, path, query, most=MOST))

    async def _readable(self, path: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Read a list of what strangers wrote, without what is too large."""

        async def read(page: int, size: int) -> list[dict[str, Any]]:
            return await asyncio.to_thread(self.api.page, path, query, page, size)

        return (await read_pages(read, LEAVING_OUT)).objects

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self.api.post, path, body)


@asynccontextmanager
async def gitlab_forge(url: str, token: str) -> AsyncIterator[Forge]:
    """Open a GitLab as the user of a personal, project or group access token."""
    with BoundedSession() as session:
        client = gitlab.Gitlab(url, private_token=token, timeout=TIMEOUT_S, session=session)
        yield GitlabForge(GitlabApi(url, client))


def _project_path(path: str) -> str:
    return f"/projects/{quote(path, safe='')}"


def _project(found: Mapping[str, Any]) -> Project:
    return Project(
        id=field_of(found, int, "id"),
        path=field_of(found, str, "path_with_namespace"),
        default_branch=found.get("default_branch") or "",  # none in an empty repository
        clone_url=field_of(found, str, "http_url_to_repo"),
        web_url=field_of(found, str, "web_url"),
    )


def _user(found: Mapping[str, Any]) -> User:
    return User(field_of(found, int, "id"), field_of(found, str, "username"))


def _merge_request(found: Mapping[str, Any], project: str) -> MergeRequest:
    number = field_of(found, int, "iid")
    state = _MERGE_STATES.get(field_of(found, str, "state"))
    if state is None:
        raise ForgeError(f"unknown state {found['state']!r:.40}", where=f"{project}!{number}")
    return MergeRequest(
        number=number,
        title=field_of(found, str, "title"),
        state=state,
        author=_user(found.get("author") or {}),
        target_branch=field_of(found, str, "target_branch"),
        head_ref=f"refs/merge-requests/{number}/head",
        head_sha=field_of(found, str, "sha"),
        web_url=field_of(found, str, "web_url"),
        from_fork=found.get("source_project_id") != found.get("target_project_id"),
        head_gone=found.get("source_project_id") is None and "target_project_id" in found,
    )


def _comment(found: Mapping[str, Any]) -> Comment:
    return Comment(
        field_of(found, int, "id"),
        _user(found.get("author") or {}),
        field_of(found, str, "body"),
        moment_of(found, "created_at"),
        moment_of(found, "updated_at"),
    )


def _status(found: Mapping[str, Any]) -> CommitStatus:
    said = field_of(found, str, "status")
    if said not in _READ_STATES:
        raise ForgeError(f"unknown state {said!r:.40} of a commit", where="statuses")
    return CommitStatus(
        name=field_of(found, str, "name"),
        state=_READ_STATES[said],
        description=found.get("description") or "",
        target_url=found.get("target_url") or None,
    )


def _issue(found: Mapping[str, Any]) -> Issue:
    return Issue(
        number=field_of(found, int, "iid"),
        title=field_of(found, str, "title"),
        text=found.get("description") or "",
        author=_user(found.get("author") or {}),
        open=field_of(found, str, "state") == "opened",
        labels=tuple(str(label) for label in found.get("labels") or []),
        web_url=field_of(found, str, "web_url"),
    )


def _hook(found: Mapping[str, Any]) -> Hook:
    events = frozenset(event for event, name in _EVENTS.items() if found.get(name) is True)
    return Hook(field_of(found, int, "id"), field_of(found, str, "url"), events)
