"""Gitea behind the contract of a forge. It has no client in nixpkgs, so this calls its API itself.

Source: Gitea's own description, `/swagger.v1.json`. What it calls a pull request is an issue, too:
both have their comments in one place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from agency.forge.contract import (
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
from agency.forge.gitea.session import GiteaSession

# Gitea has no word for a check that runs.
_STATES = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "pending",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failure",
}
_READ_STATES = {
    "pending": CommitState.PENDING,
    "success": CommitState.SUCCESS,
    "skipped": CommitState.SUCCESS,
    "warning": CommitState.SUCCESS,  # Gitea lets it be merged
    "error": CommitState.FAILURE,
    "failure": CommitState.FAILURE,
}
_ACCESS = {
    "none": Access.NONE,
    "read": Access.READ,
    "write": Access.WRITE,
    "admin": Access.ADMIN,
    "owner": Access.ADMIN,
}
_EVENTS = {
    HookEvent.PUSH: "push",
    HookEvent.MERGE_REQUEST: "pull_request",
    HookEvent.COMMENT: "issue_comment",
}
_LABEL_COLOUR = "#8a8f98"
# With `pull_request` Gitea tells of parts of it as well, which are no kinds of ours.
_EVENT_OF = {name: event for event, name in _EVENTS.items()}


@dataclass(frozen=True, slots=True)
class GiteaForge:
    """Gitea, called as the user of one token."""

    api: GiteaSession

    async def current_user(self) -> User:
        """Read the account of the token."""
        return _user(await self.api.object("GET", "/user"))

    async def project(self, path: str) -> Project:
        """Read a project."""
        return _project(await self.api.object("GET", _repo(path)))

    async def create_project(self, path: str) -> Project:
        """Make an empty private project of an organisation or of oneself."""
        owner, _, name = path.partition("/")
        own = owner.lower() == (await self.current_user()).name.lower()
        place = "/user/repos" if own else f"/orgs/{quote(owner, safe='')}/repos"
        body = {"name": name, "private": True, "default_branch": "main"}
        return _project(await self.api.object("POST", place, body))

    async def branch_sha(self, project: str, branch: str) -> str:
        """Read the newest commit of a branch."""
        path = f"{_repo(project)}/branches/{quote(branch, safe='')}"
        return field_of(await self.api.object("GET", path), str, "commit", "id")

    async def access(self, project: str, name: str) -> Access:
        """Read an account's access to a project, whatever it comes from."""
        path = f"{_repo(project)}/collaborators/{quote(name, safe='')}/permission"
        said = field_of(await self.api.object("GET", path), str, "permission")
        if said not in _ACCESS:
            raise ForgeError(f"unknown permission {said!r:.40}", where=path)
        return _ACCESS[said]

    async def merge_request(self, project: str, number: int) -> MergeRequest:
        """Read a merge request of a project."""
        return _merge_request(await self.api.object("GET", f"{_repo(project)}/pulls/{number}"))

    async def open_merge_requests(self, project: str) -> list[MergeRequest]:
        """Read the open merge requests of a project, at most MOST of them."""
        found = await self.api.objects(f"{_repo(project)}/pulls", "state=open")
        return [_merge_request(one) for one in found]

    async def open_merge_request(self, project: str, new: NewMergeRequest) -> MergeRequest:
        """Make a merge request."""
        body = {
            "title": new.title,
            "body": new.text,
            "head": new.source_branch,
            "base": new.target_branch,
        }
        return _merge_request(await self.api.object("POST", f"{_repo(project)}/pulls", body))

    async def merge(self, project: str, number: int, head_sha: str, *, squash: bool) -> None:
        """Merge a request if `head_sha` still is its newest commit."""
        body = {"Do": "squash" if squash else "merge", "head_commit_id": head_sha}
        await self.api.done("POST", f"{_repo(project)}/pulls/{number}/merge", body)

    async def comments(self, project: str, number: int) -> list[Comment]:
        """Read the comments on a merge request, oldest first, without the forge's own notes."""
        found = await self.api.objects(f"{_repo(project)}/issues/{number}/comments")
        return [_comment(one) for one in found]

    async def comments_since(self, project: str, since: datetime) -> NewComments:
        """Read the comments on merge requests made or edited at `since` or later, oldest first."""
        path = f"{_repo(project)}/issues/comments"
        listed = await self.api.readable(path, f"since={_written(since)}")
        read = [(_number_of(one), one) for one in listed.objects]
        comments = tuple(RequestComment(number, _comment(one)) for number, one in read if number)
        if not listed.cut:
            return NewComments(comments)
        # Gitea lists by id, so what it did not list was made after the last.
        last = moment_of(listed.objects[-1], "created_at") if listed.objects else since
        return NewComments(comments, last)

    async def now(self) -> datetime:
        """Read the forge's clock, in whole seconds."""
        return await self.api.date("/version")

    async def is_member(self, group: str, user: User) -> bool:
        """Return whether an account is a member of an organisation.

        Gitea answers with a redirect if the token's user is none, which is raised as an error.
        """
        path = f"/orgs/{quote(group, safe='')}/members/{quote(user.name, safe='')}"
        try:
            await self.api.done("GET", path)
        except ForgeError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def pushed_after(self, project: str, number: int, comment: Comment) -> bool:
        """Return whether a merge request got commits after a comment on it."""
        if comment.created is None:
            return True
        path = f"{_repo(project)}/issues/{number}/timeline"
        found = await self.api.objects(path, f"since={_written(comment.created)}")
        # Gitea numbers comments and pushes in one row, by which those of one second are told apart.
        return any(
            one.get("type") == "pull_push" and field_of(one, int, "id") > comment.id
            for one in found
        )

    async def comment(self, project: str, number: int, text: str) -> Comment:
        """Comment on a merge request."""
        path = f"{_repo(project)}/issues/{number}/comments"
        return _comment(await self.api.object("POST", path, {"body": text}))

    async def edit_comment(self, project: str, number: int, comment: int, text: str) -> None:
        """Replace the text of a comment of one's own on a merge request."""
        del number  # in Gitea, a comment's id is unique by itself
        path = f"{_repo(project)}/issues/comments/{comment}"
        await self.api.done("PATCH", path, {"body": text})

    async def react(self, project: str, number: int, comment: int, reaction: Reaction) -> None:
        """React to a comment on a merge request; a second time changes nothing."""
        del number
        path = f"{_repo(project)}/issues/comments/{comment}/reactions"
        await self.api.done("POST", path, {"content": reaction.value})

    async def set_status(self, project: str, sha: str, status: CommitStatus) -> None:
        """Set the status of a check of a commit."""
        body = {
            "state": _STATES[status.state],
            "context": status.name,
            "description": status.description,
            "target_url": status.target_url or "",
        }
        await self.api.done("POST", f"{_repo(project)}/statuses/{quote(sha, safe='')}", body)

    async def statuses(self, project: str, sha: str) -> list[CommitStatus]:
        """Read the newest status of each check of a commit, by name."""
        path = f"{_repo(project)}/commits/{quote(sha, safe='')}/statuses"
        found = await self.api.objects(path, "sort=recentupdate")
        return newest_by_name((field_of(one, int, "id"), _status(one)) for one in found)

    async def open_issues(self, project: str) -> list[Issue]:
        """Read the open issues of a project, at most MOST of them."""
        listed = await self.api.readable(f"{_repo(project)}/issues", "state=open&type=issues")
        return [_issue(one) for one in listed.objects]

    async def open_issue(
        self, project: str, title: str, text: str, labels: Sequence[str] = ()
    ) -> Issue:
        """Make an issue; labels that the project lacks are made."""
        body = {"title": title, "body": text, "labels": await self._label_ids(project, labels)}
        return _issue(await self.api.object("POST", f"{_repo(project)}/issues", body))

    async def _label_ids(self, project: str, names: Sequence[str]) -> list[int]:
        if not names:
            return []
        path = f"{_repo(project)}/labels"
        found = await self.api.objects(path)
        ids = {field_of(one, str, "name"): field_of(one, int, "id") for one in found}
        for name in names:
            if name not in ids:
                made = await self.api.object("POST", path, {"name": name, "color": _LABEL_COLOUR})
                ids[name] = field_of(made, int, "id")
        return [ids[name] for name in names]

    async def comment_issue(self, project: str, number: int, text: str) -> Comment:
        """Comment on an issue."""
        return await self.comment(project, number, text)

    async def close_issue(self, project: str, number: int) -> None:
        """Close an issue."""
        await self.api.done("PATCH", f"{_repo(project)}/issues/{number}", {"state": "closed"})

    async def hooks(self, project: str) -> list[Hook]:
        """Read the hooks of a project."""
        return [_hook(one) for one in await self.api.objects(f"{_repo(project)}/hooks")]

    async def add_hook(
        self, project: str, url: str, secret: str, events: frozenset[HookEvent]
    ) -> Hook:
        """Make a hook, whose calls prove themselves by `secret` (`agency.forge.hooks`)."""
        body = {
            "type": "gitea",
            "active": True,
            "events": sorted(_EVENTS[event] for event in events) + _parts(events),
            "config": {"url": url, "content_type": "json", "secret": secret},
        }
        return _hook(await self.api.object("POST", f"{_repo(project)}/hooks", body))

    async def remove_hook(self, project: str, hook: int) -> None:
        """Remove a hook."""
        await self.api.done("DELETE", f"{_repo(project)}/hooks/{hook}")


@asynccontextmanager
async def gitea_forge(url: str, token: str) -> AsyncIterator[Forge]:
    """Open a Gitea as the user of an access token."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        yield GiteaForge(GiteaSession(url.rstrip("/"), session, token))


def _parts(events: frozenset[HookEvent]) -> list[str]:
    # `issue_comment` alone leaves out the comments on pull requests.
    return ["pull_request_comment"] if HookEvent.COMMENT in events else []


def _repo(path: str) -> str:
    owner, _, name = path.partition("/")
    return f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"


def _project(found: Mapping[str, Any]) -> Project:
    return Project(
        id=field_of(found, int, "id"),
        path=field_of(found, str, "full_name"),
        default_branch=field_of(found, str, "default_branch"),
        clone_url=field_of(found, str, "clone_url"),
        web_url=field_of(found, str, "html_url"),
    )


def _user(found: Mapping[str, Any]) -> User:
    return User(field_of(found, int, "id"), field_of(found, str, "login"))


def _written(moment: datetime) -> str:
    return quote(moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))


def _number_of(comment: Mapping[str, Any]) -> int | None:
    """Return the number of a comment's merge request; None for one on an issue."""
    last = str(comment.get("pull_request_url") or "").rpartition("/")[2]
    return int(last) if last.isdecimal() else None


def _merge_request(found: Mapping[str, Any]) -> MergeRequest:
    number = field_of(found, int, "number")
    head = found.get("head") or {}
    open_ = field_of(found, str, "state") == "open"
    closed = MergeState.MERGED if found.get("merged") is True else MergeState.CLOSED
    return MergeRequest(
        number=number,
        title=field_of(found, str, "title"),
        state=MergeState.OPEN if open_ else closed,
        author=_user(found.get("user") or {}),
        target_branch=field_of(found, str, "base", "ref"),
        head_ref=f"refs/pull/{number}/head",
        head_sha=field_of(found, str, "head", "sha"),
        web_url=field_of(found, str, "html_url"),
        from_fork=head.get("repo_id") != (found.get("base") or {}).get("repo_id"),
        # The name of a branch that is gone is replaced by the request's own ref.
        head_gone=head.get("repo") is None or head.get("ref") == f"refs/pull/{number}/head",
    )


def _comment(found: Mapping[str, Any]) -> Comment:
    return Comment(
        field_of(found, int, "id"),
        _user(found.get("user") or {}),
        field_of(found, str, "body"),
        moment_of(found, "created_at"),
        moment_of(found, "updated_at"),
    )


def _status(found: Mapping[str, Any]) -> CommitStatus:
    said = field_of(found, str, "status")
    if said not in _READ_STATES:
        raise ForgeError(f"unknown state {said!r:.40} of a commit", where="statuses")
    return CommitStatus(
        name=field_of(found, str, "context"),
        state=_READ_STATES[said],
        description=found.get("description") or "",
        target_url=found.get("target_url") or None,
    )


def _issue(found: Mapping[str, Any]) -> Issue:
    labels = found.get("labels") or []
    return Issue(
        number=field_of(found, int, "number"),
        title=field_of(found, str, "title"),
        text=field_of(found, str, "body"),
        author=_user(found.get("user") or {}),
        open=field_of(found, str, "state") == "open",
        labels=tuple(field_of(label, str, "name") for label in labels),
        web_url=field_of(found, str, "html_url"),
    )


def _hook(found: Mapping[str, Any]) -> Hook:
    events = frozenset(_EVENT_OF[name] for name in found.get("events") or () if name in _EVENT_OF)
    return Hook(field_of(found, int, "id"), field_of(found, str, "config", "url"), events)
