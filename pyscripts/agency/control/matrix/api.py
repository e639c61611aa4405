"""Calls of the client-server API, with the application service's token.

mautrix builds paths and requests; what it loses is kept here: how long a rate limit asks to wait,
and one kind of error for every way a call can fail. Nothing is retried here.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from mautrix.api import HTTPAPI, Method, PathBuilder
from mautrix.errors import MatrixConnectionError
from mautrix.types import UserID

from agency.errors import AgencyError

_TIMEOUT_S = 30.0
_MAX_MESSAGE = 300


class MatrixError(AgencyError):
    """The homeserver did not do what it was asked.

    `status` is None when there was no answer; then it may have been done all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str,
        status: int | None = None,
        errcode: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, where=where)
        self.status = status
        self.errcode = errcode
        self.retry_after_s = retry_after_s

    @property
    def temporary(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status is None or self.status in (408, 429) or self.status >= 500


class MatrixApi:
    """The homeserver, as the bot or as a user of the application service's namespace."""

    def __init__(self, url: str, as_token: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._token = as_token
        self._session = session

    async def request(
        self,
        method: Method,
        path: PathBuilder,
        body: dict[str, Any] | None = None,
        *,
        as_user: str | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """One call; its answer is a JSON object.

        Raises:
            MatrixError: any other ending.
        """
        identity = None if as_user is None else UserID(as_user)
        api = _Http(self._url, self._token, client_session=self._session, as_user_id=identity)
        where = f"{method.value} /{path}"
        try:
            # `sensitive` keeps the content out of mautrix's log.
            answer = await api.request(
                method,
                path,
                body,
                query_params=query,
                retry_count=0,
                sensitive=body is not None,
            )
        except TimeoutError as error:
            raise MatrixError("no answer in time", where=where) from error
        except (MatrixConnectionError, aiohttp.ClientError) as error:
            kind = type(error.__cause__ or error).__name__
            raise MatrixError(f"no answer: {kind}", where=where) from error
        except _RefusedError as error:
            raise MatrixError(
                f"HTTP {error.status} {error.errcode or ''} {error.text}".strip(),
                where=where,
                status=error.status,
                errcode=error.errcode,
                retry_after_s=error.retry_after_s,
            ) from None
        return answer


def client_session() -> aiohttp.ClientSession:
    """A session for `MatrixApi`: bounded in time, without cookies and proxies."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class _RefusedError(Exception):
    def __init__(self, status: int, body: dict[str, Any], header: str | None) -> None:
        super().__init__()
        self.status = status
        errcode, text = body.get("errcode"), body.get("error")
        self.errcode = errcode[:_MAX_MESSAGE] if isinstance(errcode, str) else None
        self.text = text[:_MAX_MESSAGE] if isinstance(text, str) else ""
        self.retry_after_s = _seconds(body.get("retry_after_ms"), header)


def _seconds(milliseconds: object, header: str | None) -> float | None:
    if isinstance(milliseconds, int | float) and milliseconds >= 0:
        return milliseconds / 1000
    return float(header) if header is not None and header.isdecimal() else None


class _Http(HTTPAPI):
    """mautrix's request, with the homeserver's answer kept whole."""

    async def _send(  # type: ignore[override]  # the parent's types are looser
        self,
        method: Method,
        url: Any,
        content: Any,
        query_params: dict[str, str],
        headers: dict[str, str],
    ) -> tuple[dict[str, Any], aiohttp.ClientResponse]:
        async with self.session.request(
            method.value,
            url,
            data=content,
            params=query_params,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            try:
                body = json.loads(await answer.read())
            except ValueError:
                body = None
            whole = body if isinstance(body, dict) else {}
            if not 200 <= answer.status < 300:
                raise _RefusedError(answer.status, whole, answer.headers.get("Retry-After"))
            if body is not whole:
                raise aiohttp.ClientPayloadError("the answer is not a JSON object")
            return whole, answer
