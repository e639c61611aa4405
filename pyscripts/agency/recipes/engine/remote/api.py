"""HTTP of an engine: bounded, without redirects, and its faults told apart by what to do next."""

from __future__ import annotations

import asyncio
import dataclasses as fields
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from agency.recipes.engine.port import EngineError, EngineRefusedError

T = TypeVar("T", int, str, dict[str, Any], list[Any])
MAX_BYTES = 4 * 1024 * 1024
TIMEOUT_S = 20.0
_PAGE, _PAGES = 50, 40
_REFUSED = (400, 401, 403, 404, 409, 422)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON of an answer; None where it has no body."""

    status: int
    data: Any

    def field(self, kind: type[T], *path: str) -> T:
        """Return a field of a kind.

        Raises:
            EngineError: there is none.
        """
        return field(self.data, kind, *path)


def field(data: Any, kind: type[T], *path: str) -> T:
    """Return a field of a kind, by its path.

    Raises:
        EngineError: there is none.
    """
    found = data
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise EngineError(f"its answer has no {'.'.join(path) or kind.__name__}")
    return found


@dataclass(frozen=True, slots=True)
class Api:
    """Interface of an engine at `url`. The token is in `headers` alone."""

    url: str
    headers: Mapping[str, str] = fields.field(repr=False)
    session: aiohttp.ClientSession = fields.field(repr=False)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Answer:
        """Ask; the answer's status is 2xx, or one of a refusal.

        Raises:
            EngineError: no answer, one of a fault, or no JSON.
        """
        where = f"{method} {self.url}{path}"
        try:
            async with self.session.request(
                method,
                f"{self.url}{path}",
                params=query,
                json=body,
                headers=self.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            ) as answer:
                data = await _read(answer, where)
                status = answer.status
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:  # noqa: UP041 - of 3.10 too
            raise EngineError(f"no answer: {type(error).__name__}", where=where) from error
        if not 200 <= status < 300 and status not in _REFUSED:
            raise EngineError(f"status {status}", where=where)
        if status >= 300 or not data.strip():
            return Answer(status, None)
        try:
            return Answer(status, json.loads(data))
        except (ValueError, RecursionError) as error:
            raise EngineError("the answer is no JSON", where=where) from error

    async def names(self, path: str, page: str, size: str) -> frozenset[str]:
        """List the names of objects, page by page; `page` and `size` are the words for it.

        Raises:
            EngineError: an answer is no such list, or there is no end of it.
        """
        found: set[str] = set()
        for number in range(1, _PAGES + 1):
            query = {page: str(number), size: str(_PAGE)}
            answer = await self.call("GET", path, query=query)
            if answer.status >= 300:
                raise EngineError(f"it lists nothing: status {answer.status}", where=path)
            names = {field(one, str, "name") for one in answer.field(list)}
            if names <= found:  # the last, or an engine that gives all at once
                return frozenset(found)
            found |= names
        raise EngineError("the list has no end", where=path)


async def _read(answer: aiohttp.ClientResponse, where: str) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        data += chunk
        if len(data) > MAX_BYTES:
            raise EngineError("the answer is too large", where=where)
    return bytes(data)


def refused(answer: Answer, what: str, hint: str) -> EngineRefusedError:
    """Make the error of a start that will never succeed."""
    told = f"status {answer.status}" if answer.status >= 300 else "it started nothing"
    return EngineRefusedError(f"{what}: {told}", hint=hint)


async def remove(api: Api, path: str) -> None:
    """Remove an object; one that is not there is none.

    Raises:
        EngineError: it is refused.
    """
    answer = await api.call("DELETE", path)
    if answer.status >= 300 and answer.status != 404:
        raise EngineError(f"its removal is refused: status {answer.status}", where=path)
