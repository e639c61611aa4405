"""Requests to Incus over its unix socket: one JSON answer, or an operation to wait for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp

from agency.guests.incus.errors import IncusError, IncusTimeoutError, IncusUnreachableError

_BASE = "http://incus"
_OPERATION_DONE = 200
_GRACE_S = 5.0  # what an answer may take beyond the time that Incus was told to wait
MAX_SOCKET_PATH = 107  # sun_path, unix(7)

Json = dict[str, Any]


class Transport:
    """One connection pool to one Incus. Open it with `async with`."""

    def __init__(self, socket: Path, *, timeout_s: float = 30.0) -> None:
        self.socket = socket
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(path=str(self.socket), limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session; there between entering and leaving."""
        if self._session is None:
            raise RuntimeError("the transport is not open")
        return self._session

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float | None = None,
        where: str | None = None,
        **arguments: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One HTTP exchange; errors of transport become ours."""
        seconds = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with (
                asyncio.timeout(seconds),
                self.session.request(method, _BASE + path, **arguments) as answer,
            ):
                yield answer
        except TimeoutError as error:
            raise IncusTimeoutError(
                f"Incus did not answer within {seconds:g} s", where=where or path
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise IncusUnreachableError(
                f"Incus cannot be reached: {error.os_error.strerror or error.os_error}",
                where=str(self.socket),
                hint="start Incus, or use an account that may talk to it",
            ) from error
        except aiohttp.ClientError as error:
            raise IncusError(
                f"the connection to Incus broke: {type(error).__name__}", where=where or path
            ) from error

    async def call(
        self, method: str, path: str, body: object = None, *, where: str | None = None
    ) -> Any:
        """Send a request that is answered at once; return its metadata."""
        return (await self._json(method, path, body, where))["metadata"]

    async def begin(
        self, method: str, path: str, body: object = None, *, where: str | None = None
    ) -> Json:
        """Send a request that starts an operation; return the operation."""
        answer = await self._json(method, path, body, where)
        if answer.get("type") != "async":
            raise IncusError(f"{method} was not answered by an operation", where=where or path)
        return dict(answer["metadata"])

    async def operate(
        self, method: str, path: str, body: object = None, *, timeout_s: float, where: str
    ) -> Json:
        """Start an operation and wait for its end.

        Raises:
            IncusError: it failed, with the reason that Incus gives.
            IncusTimeoutError: it did not end in time; Incus was asked to cancel it.
        """
        operation = await self.begin(method, path, body, where=where)
        return await self.finish(str(operation["id"]), timeout_s=timeout_s, where=where)

    async def finish(self, operation: str, *, timeout_s: float, where: str) -> Json:
        """Wait for the end of an operation; see `operate`."""
        path = f"/1.0/operations/{operation}"
        wait = f"{path}/wait?timeout={max(1, round(timeout_s))}"
        try:
            async with self.request(
                "GET", wait, timeout_s=timeout_s + _GRACE_S, where=where
            ) as answer:
                ended = (await checked_answer(answer, where))["metadata"]
        except (asyncio.CancelledError, IncusTimeoutError):
            await self._cancel(path)
            raise
        if ended["status_code"] == _OPERATION_DONE:
            return dict(ended)
        if ended["status_code"] < _OPERATION_DONE:
            await self._cancel(path)
            raise IncusTimeoutError(f"did not end within {timeout_s:g} s", where=where)
        raise IncusError(str(ended.get("err") or ended["status"]), where=where)

    async def _cancel(self, path: str) -> None:
        # Most operations cannot be cancelled; whoever gave up also removes what came of it.
        with contextlib.suppress(IncusError, IncusUnreachableError):
            await asyncio.shield(self.call("DELETE", path))

    async def _json(self, method: str, path: str, body: object, where: str | None) -> Json:
        async with self.request(method, path, json=body, where=where) as answer:
            return await checked_answer(answer, where or path)


async def checked_answer(answer: aiohttp.ClientResponse, where: str) -> Json:
    """Read the JSON of an answer that is not an error of Incus."""
    try:
        decoded = await answer.json(content_type=None)
    except ValueError as error:
        raise IncusError("Incus answered with something that is not JSON", where=where) from error
    if not isinstance(decoded, dict):
        raise IncusError("Incus answered with something unexpected", where=where)
    if decoded.get("type") == "error":
        reason, status = decoded.get("error"), int(decoded.get("error_code", 0))
        raise IncusError(str(reason or "no reason given"), where=where, status=status)
    return decoded
