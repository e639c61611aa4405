"""Client of services on loopback: bounded in time and size, no redirects, no proxies."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import Field

from agency import naming
from agency.canonical import sha256_hex
from agency.errors import AgencyError
from agency.spinup.probes.probe import Nothing
from agency.spinup.record import Evidence

ANSWER_S = 10.0
MAX_BYTES = 1024 * 1024
_CHUNK = 64 * 1024


class ShopError(AgencyError):
    """A service that cannot be asked, or does not answer within bounds."""


class Ports(Nothing):
    """Input of the probes of services; ports by name, where a machine's are not the usual ones."""

    ports: dict[str, int] = Field(default_factory=dict, max_length=64)

    def of(self, service: str) -> int:
        """Find the loopback port of a service."""
        return self.ports.get(service, naming.SERVICE_PORTS[service])


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a question; `body` is whole."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def seen(self) -> Evidence:
        """Address and status, as evidence."""
        return {"url": self.url, "status": self.status}

    @property
    def digest(self) -> str:
        """The SHA-256 of the body."""
        return sha256_hex(self.body)

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            ValueError: it is none.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Client:
    """Client of one service."""

    base: str
    session: aiohttp.ClientSession

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, name: str | None = None
    ) -> Reply:
        """Ask for a path; `name` is that of the TLS hello, where it is not the address.

        Raises:
            ShopError: no answer in time, or one without end; redirects are answers.
        """
        url = self.base + path
        try:
            async with self.session.get(
                url, headers=headers, allow_redirects=False, server_hostname=name
            ) as answer:
                body = await _read(answer, url)
                return Reply(url, answer.status, dict(answer.headers), body)
        except TimeoutError as error:
            raise ShopError(f"no answer within {ANSWER_S:g} s", where=url) from error
        except aiohttp.ClientError as error:
            raise ShopError(f"no answer: {type(error).__name__}", where=url) from error


async def _read(answer: aiohttp.ClientResponse, url: str) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise ShopError(f"the answer has more than {MAX_BYTES} bytes", where=url)
    return bytes(data)


@contextlib.asynccontextmanager
async def service(
    port: int, *, tls: ssl.SSLContext | None = None, socket: Path | None = None
) -> AsyncIterator[Client]:
    """Open a client of a port of loopback, or of a Unix socket."""
    connector: aiohttp.BaseConnector
    if socket is not None:
        connector = aiohttp.UnixConnector(path=str(socket))
    else:
        connector = aiohttp.TCPConnector(ssl=True if tls is None else tls)
    scheme = "http" if tls is None else "https"
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=False
    ) as session:
        yield Client(f"{scheme}://127.0.0.1:{port}", session)
