"""Gitea behind the contract of a forge: a thin client of its REST API.

Source: Gitea's OpenAPI description (templates/swagger/v1_json.tmpl): GET /user,
GET /repos/{owner}/{repo}, GET /repos/{owner}/{repo}/pulls/{index},
POST /repos/{owner}/{repo}/issues/{index}/comments, POST /repos/{owner}/{repo}/statuses/{sha}.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

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
from agency.forge.errors import ForgeError, ForgeUnreachableError, field_of

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_ATTEMPTS = 4  # in all, where a rate limit says that nothing was done
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0

# Gitea has no word for a check that runs.
_STATES = {
    CommitState.PENDING: "pending",
    CommitState.RUNNING: "pending",
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failure",
}


@dataclass(frozen=True, slots=True)
class GiteaForge:
    """Gitea, called as the user of one token."""

    url: str
    http: aiohttp.ClientSession
    token: str = field(repr=False)
    timeout_s: float = 30.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def current_user(self) -> User:
        """Read the account of the token."""
        return _user(await self._call("GET", "/user"))

    async def project(self, path: str) -> Project:
        """Read a project."""
        found = await self._call("GET", _repo(path))
        return Project(
            id=field_of(found, int, "id"),
            path=field_of(found, str, "full_name"),
            default_branch=field_of(found, str, "default_branch"),
            clone_url=field_of(found, str, "clone_url"),
            web_url=field_of(found, str, "html_url"),
        )

    async def merge_request(self, project: str, number: int) -> MergeRequest:
        """Read a merge request of a project."""
        found = await self._call("GET", f"{_repo(project)}/pulls/{number}")
        open_ = field_of(found, str, "state") == "open"
        closed = MergeState.MERGED if found.get("merged") is True else MergeState.CLOSED
        return MergeRequest(
            number=field_of(found, int, "number"),
            title=field_of(found, str, "title"),
            state=MergeState.OPEN if open_ else closed,
            author=_user(found.get("user") or {}),
            target_branch=field_of(found, str, "base", "ref"),
            head_ref=f"refs/pull/{number}/head",
            head_sha=field_of(found, str, "head", "sha"),
            web_url=field_of(found, str, "html_url"),
        )

    async def comment(self, project: str, number: int, text: str) -> Comment:
        """Comment on a merge request."""
        path = f"{_repo(project)}/issues/{number}/comments"
        made = await self._call("POST", path, {"body": text})
        author = _user(made.get("user") or {})
        return Comment(field_of(made, int, "id"), author, field_of(made, str, "body"))

    async def set_status(self, project: str, sha: str, status: CommitStatus) -> None:
        """Set the status of a check of a commit."""
        body = {
            "state": _STATES[status.state],
            "context": status.name,
            "description": status.description,
            "target_url": status.target_url or "",
        }
        await self._call("POST", f"{_repo(project)}/statuses/{quote(sha, safe='')}", body)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make one call; repeat it after a rate limit."""
        attempt = 1
        while True:
            try:
                return await self._once(method, path, body)
            except _LimitedError as limited:
                if attempt == _ATTEMPTS:
                    raise ForgeError("HTTP 429", where=f"{method} {path}", status=429) from None
                pause_s = (
                    _PAUSE_S * 2 ** (attempt - 1) if limited.after_s is None else limited.after_s
                )
            await self.sleep(min(pause_s, _LONGEST_PAUSE_S))
            attempt += 1

    async def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            async with self.http.request(
                method,
                URL(f"{self.url}/api/v1{path}", encoded=True),
                json=body,
                headers={"Authorization": f"token {self.token}", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                allow_redirects=False,
            ) as response:
                return _answer(f"{method} {path}", response, await _read(response))
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ForgeUnreachableError(
                f"Gitea does not answer: {type(error).__name__}",
                where=self.url,
                hint="see whether it runs: systemctl status gitea",
            ) from None  # the cause would quote the request


class _LimitedError(Exception):
    """A temporary refusal; `after_s` is the wait that Gitea asks for, if any."""

    def __init__(self, after_s: float | None) -> None:
        super().__init__()
        self.after_s = after_s


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Read a body; None if it is too large."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            return None
    return bytes(data)


def _answer(where: str, response: aiohttp.ClientResponse, data: bytes | None) -> dict[str, Any]:
    status = response.status
    if status == 429:
        asked = response.headers.get("Retry-After", "")
        raise _LimitedError(float(asked) if asked.isdecimal() else None)
    if not 200 <= status < 300:
        raise ForgeError(f"HTTP {status}", where=where, status=status)
    if data is None:
        message = f"the answer has more than {MAX_ANSWER_BYTES} bytes"
        raise ForgeError(message, where=where, status=status)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ForgeError(f"HTTP {status} without a JSON object", where=where, status=status)
    return value


@asynccontextmanager
async def gitea_forge(url: str, token: str) -> AsyncIterator[Forge]:
    """Open a Gitea as the user of an access token."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        yield GiteaForge(url.rstrip("/"), session, token)


def _repo(path: str) -> str:
    owner, _, name = path.partition("/")
    return f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"


def _user(found: Mapping[str, Any]) -> User:
    return User(field_of(found, int, "id"), field_of(found, str, "login"))
