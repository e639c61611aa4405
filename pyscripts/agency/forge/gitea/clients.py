"""OAuth clients of one Gitea account: programs to which people log in with their Gitea account.

Gitea shows a client's secret once, when it is made or changed, and makes a new one at each change.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agency.forge.errors import ForgeError, ForgeUnreachableError, field_of
from agency.forge.gitea.session import GiteaSession

_PATH = "/user/applications/oauth2"
# RFC 6749, section 5.2: it comes first, and any other error is about the token.
_REFUSED = "invalid_client"
_TOLD = (400, 401)
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class OauthClient:
    """OAuth client as Gitea lists it; `number` is Gitea's own, `client_id` what programs show."""

    number: int
    name: str
    client_id: str
    redirect_uris: tuple[str, ...]
    confidential: bool


@dataclass(frozen=True, slots=True)
class IssuedClient:
    """Client with its new secret."""

    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GiteaClients:
    """OAuth clients of the account of a token, which must have the scope `write:user`."""

    api: GiteaSession

    async def all(self) -> list[OauthClient]:
        """List the clients."""
        return [_client(one) for one in await self.api.objects(_PATH)]

    async def make(self, name: str, redirect_uri: str) -> IssuedClient:
        """Make a client."""
        return _issued(await self.api.object("POST", _PATH, _body(name, redirect_uri)))

    async def change(self, number: int, name: str, redirect_uri: str) -> IssuedClient:
        """Set the facts of a client; its old secret is refused from then on."""
        path = f"{_PATH}/{number}"
        return _issued(await self.api.object("PATCH", path, _body(name, redirect_uri)))

    async def remove(self, number: int) -> None:
        """Remove a client."""
        await self.api.done("DELETE", f"{_PATH}/{number}")

    async def accepts(self, client_id: str, secret: str) -> bool:
        """Return whether Gitea knows a client by this secret. It shows a refresh token of nobody.

        Raises:
            ForgeError: the answer says neither.
        """
        where = "POST /login/oauth/access_token"
        body = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "client_secret": secret,
            "refresh_token": "of-nobody",
        }
        try:
            async with self.api.http.post(
                f"{self.api.url}/login/oauth/access_token",
                data=body,
                timeout=aiohttp.ClientTimeout(total=self.api.timeout_s),
                allow_redirects=False,
            ) as response:
                status, text = response.status, await response.content.read(_MOST_BYTES)
        except (TimeoutError, aiohttp.ClientError) as error:
            message = f"Gitea does not answer: {type(error).__name__}"
            raise ForgeUnreachableError(message, where=self.api.url) from None
        told = _error(text) if status in _TOLD else None
        if told is None:
            raise ForgeError(f"HTTP {status} without a word on it", where=where, status=status)
        return told != _REFUSED


@asynccontextmanager
async def gitea_clients(url: str, token: str) -> AsyncIterator[GiteaClients]:
    """Open the OAuth clients of a token's account."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        yield GiteaClients(GiteaSession(url.rstrip("/"), session, token))


def _body(name: str, redirect_uri: str) -> dict[str, object]:
    return {"name": name, "redirect_uris": [redirect_uri], "confidential_client": True}


def _client(found: Mapping[str, Any]) -> OauthClient:
    return OauthClient(
        number=field_of(found, int, "id"),
        name=field_of(found, str, "name"),
        client_id=field_of(found, str, "client_id"),
        redirect_uris=tuple(str(one) for one in found.get("redirect_uris") or ()),
        confidential=found.get("confidential_client") is True,
    )


def _issued(found: Mapping[str, Any]) -> IssuedClient:
    return IssuedClient(field_of(found, str, "client_id"), field_of(found, str, "client_secret"))


def _error(text: bytes) -> str | None:
    """Return the error that an answer tells; None if it is no such answer."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    told = found.get("error") if isinstance(found, dict) else None
    return told if isinstance(told, str) else None
