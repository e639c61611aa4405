"""HTTP session of Gitea's API: bounded answers, rate limits, errors of one kind.

Source: Gitea's own description, `/swagger.v1.json`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
from yarl import URL

from agency.forge.contract import MOST
from agency.forge.errors import (
    ForgeError,
    ForgeTooLargeError,
    ForgeUnreachableError,
    date_of,
    objects_of,
)
from agency.forge.paging import LEAVING_OUT, WHOLE, Listed, read_pages

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_ATTEMPTS = 4  # in all, where a rate limit says that nothing was done
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0  # who asks for more is told, not waited for
_Answer = tuple[int, Any, Mapping[str, str]]  # status, value and headers


@dataclass(frozen=True, slots=True)
class GiteaSession:
    """Gitea's API, called as the user of one token."""

    url: str
    http: aiohttp.ClientSession
    token: str = field(repr=False)
    timeout_s: float = 30.0
    longest_pause_s: float = _LONGEST_PAUSE_S
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def object(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make a call that answers with an object."""
        status, found, _ = await self._call(method, path, body)
        if not isinstance(found, dict):
            where = f"{method} {path}"
            raise ForgeError(f"HTTP {status} without a JSON object", where=where, status=status)
        return found

    async def objects(self, path: str, query: str = "") -> list[dict[str, Any]]:
        """Read a list, page by page, at most MOST objects."""
        return (await self._pages(path, query, WHOLE)).objects[:MOST]

    async def readable(self, path: str, query: str) -> Listed:
        """Read a list of what strangers wrote, page by page, without what is too large."""
        return await self._pages(path, query, LEAVING_OUT)

    async def _pages(self, path: str, query: str, sizes: tuple[int, ...]) -> Listed:
        async def read(page: int, size: int) -> list[dict[str, Any]]:
            _, answer, _ = await self._call("GET", f"{path}?{query}&page={page}&limit={size}")
            return objects_of(answer, f"GET {path}")

        return await read_pages(read, sizes)

    async def done(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Make a call whose answer says nothing but that it is done."""
        await self._call(method, path, body)

    async def date(self, path: str) -> datetime:
        """Make a reading call for the moment at which it is answered, by the forge's clock."""
        _, _, headers = await self._call("GET", path)
        return date_of(headers, f"GET {path}")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> _Answer:
        """Make one call; repeat it after a rate limit."""
        attempt = 1
        while True:
            try:
                return await self._once(method, path, body)
            except _LimitedError as limited:
                pause_s = (
                    _PAUSE_S * 2 ** (attempt - 1) if limited.after_s is None else limited.after_s
                )
                if attempt == _ATTEMPTS or pause_s > self.longest_pause_s:
                    where, after_s = f"{method} {path}", limited.after_s
                    raise ForgeError("HTTP 429", where=where, status=429, after_s=after_s) from None
            await self.sleep(pause_s)
            attempt += 1

    async def _once(self, method: str, path: str, body: Mapping[str, Any] | None) -> _Answer:
        try:
            async with self.http.request(
                method,
                URL(f"{self.url}/api/v1{path}", encoded=True),
                json=body,
                headers={"Authorization": f"token {self.token}", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                allow_redirects=False,
            ) as response:
                status, found = _answer(f"{method} {path}", response, await _read(response))
                return status, found, response.headers
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


def _answer(where: str, response: aiohttp.ClientResponse, data: bytes | None) -> tuple[int, Any]:
    """Return status and value of an answer; the value is None for an empty body."""
    status = response.status
    if status == 429:
        asked = response.headers.get("Retry-After", "")
        raise _LimitedError(float(asked) if asked.isdecimal() else None)
    if not 200 <= status < 300:
        raise ForgeError(f"HTTP {status}", where=where, status=status)
    if data is None:
        message = f"the answer has more than {MAX_ANSWER_BYTES} bytes"
        raise ForgeTooLargeError(message, where=where, status=status)
    if not data:
        return status, None
    try:
        return status, json.loads(data)
    except (ValueError, RecursionError):
        raise ForgeError(f"HTTP {status} without JSON", where=where, status=status) from None
