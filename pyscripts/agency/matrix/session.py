"""Calls of the client-server API: one call, one answer, one error type. Nothing is retried.

Source: Matrix specification 1.11, "Standard error response", "Rate limiting".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from agency.matrix.errors import AnswerError, MatrixError

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_TIMEOUT_S = 30.0
_CONNECT_S = 5.0
_CHUNK_BYTES = 64 * 1024
_MAX_MESSAGE = 300


def client_session() -> aiohttp.ClientSession:
    """Return a session for `MatrixSession`: without cookies, proxies and ~/.netrc."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


@dataclass(frozen=True, slots=True)
class MatrixSession:
    """A homeserver, called as the user of `token` (or as a user of the token's namespace)."""

    url: str
    http: aiohttp.ClientSession
    token: str | None = field(default=None, repr=False)

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        as_user: str | None = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> dict[str, Any]:
        """Make one call whose answer is a JSON object; `path` is made by `client_path`.

        Raises:
            MatrixError: the call failed, or its answer has another form.
        """
        answer = await self._call(method, path, body, as_user, query, timeout_s)
        value = answer.value()
        if not isinstance(value, dict):
            raise answer.unlike("object")
        return value

    async def request_list(
        self,
        method: str,
        path: str,
        *,
        as_user: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> list[Any]:
        """Make one call whose answer is a JSON array.

        Raises:
            MatrixError: the call failed, or its answer has another form.
        """
        answer = await self._call(method, path, None, as_user, None, timeout_s)
        value = answer.value()
        if not isinstance(value, list):
            raise answer.unlike("array")
        return value

    async def request_bytes(
        self, path: str, *, most: int, as_user: str | None = None, timeout_s: float = _TIMEOUT_S
    ) -> bytes:
        """Get what is no JSON, such as a file: at most `most` bytes.

        Raises:
            MatrixError: the call failed, or the answer is longer.
        """
        answer = await self._call("GET", path, None, as_user, None, timeout_s, most=most)
        return answer.data

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        as_user: str | None,
        query: Mapping[str, str] | None,
        timeout_s: float,
        most: int = MAX_ANSWER_BYTES,
    ) -> _Answer:
        given = {**(query or {}), **({} if as_user is None else {"user_id": as_user})}
        where = f"{method} {path}"
        try:
            async with self.http.request(
                method,
                URL(self.url + path, encoded=True).extend_query(given),
                json=body if body is not None or method == "GET" else {},
                headers={} if self.token is None else {"Authorization": f"Bearer {self.token}"},
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S),
                allow_redirects=False,
            ) as response:
                answer = _Answer(where, response.status, await _read(response, where, most))
                if not 200 <= response.status < 300:
                    raise answer.refusal(response.headers.get("Retry-After"))
                return answer
        except TimeoutError as error:
            raise MatrixError("no answer from the homeserver in time", where=where) from error
        except aiohttp.ClientError as error:
            kind = type(error).__name__
            raise MatrixError(f"no answer from the homeserver ({kind})", where=where) from error


async def _read(response: aiohttp.ClientResponse, where: str, most: int) -> bytes:
    """Read at most `most` bytes."""
    data = bytearray()
    try:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            data += chunk
            if len(data) > most:
                raise AnswerError(
                    f"the answer has more than {most} bytes",
                    where=where,
                    status=response.status,
                )
    except TimeoutError as error:
        raise AnswerError("the answer does not end", where=where, status=response.status) from error
    return bytes(data)


@dataclass(frozen=True, slots=True)
class _Answer:
    where: str
    status: int
    data: bytes

    def value(self) -> Any:
        """Read its JSON value; None for anything else."""
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError):
            return None

    def unlike(self, wanted: str) -> MatrixError:
        return MatrixError(
            f"HTTP {self.status} without a JSON {wanted}", where=self.where, status=self.status
        )

    def refusal(self, retry_after: str | None) -> MatrixError:
        value = self.value()
        body = value if isinstance(value, dict) else {}
        errcode, text = _text(body.get("errcode")), _text(body.get("error"))
        return MatrixError(
            " ".join(part for part in (f"HTTP {self.status}", errcode, text) if part),
            where=self.where,
            status=self.status,
            errcode=errcode,
            retry_after_s=_seconds(body.get("retry_after_ms"), retry_after),
        )


def _text(value: object) -> str | None:
    return value[:_MAX_MESSAGE] if isinstance(value, str) else None


def _seconds(milliseconds: object, header: str | None) -> float | None:
    if isinstance(milliseconds, int | float) and 0 <= milliseconds < float("inf"):
        return milliseconds / 1000
    return float(header) if header is not None and header.isdecimal() else None
