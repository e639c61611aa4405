"""Way of people through the edge: port 443 of the guest, its names, and one authority."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from agency import naming
from agency.guests import Guest
from agency.spinup.remote.subject import Entrance

PORT = 443
USER_AGENT = "agency-spinup (conversation)"
# Addresses of the guest's loopback, by which the homeserver tells who came how.
CONVERSATION, BROWSER = "127.83.0.2", "127.83.0.3"
_LOOPBACK = "127.0.0.1"


class UnknownNameError(OSError):
    """A name that is not of the run's domain."""


@dataclass(frozen=True, slots=True)
class _Resolver(AbstractResolver):
    """Answers for one domain and the names in it, and asks nobody."""

    domain: str

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - aiohttp names it
    ) -> list[ResolveResult]:
        if host != self.domain and not host.endswith(f".{self.domain}"):
            raise UnknownNameError(f"{host} is not of {self.domain}")
        return [
            ResolveResult(
                hostname=host, host=_LOOPBACK, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Do nothing: nothing is held."""


@contextlib.asynccontextmanager
async def door(guest: Guest, domain: str, authority: str) -> AsyncIterator[Entrance]:
    """Open the way to the homeserver over TLS; its session trusts the authority and no other."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=authority)
    async with (
        guest.forward(PORT, source=CONVERSATION) as port,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(domain), ssl=trust),
            headers={"User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session,
    ):
        yield Entrance(f"https://{naming.public_host('matrix', domain)}:{port}", session)
