"""Access to the pages beside the homeserver's: by whom, and under which name.

A page in an operator's browser can reach a server on loopback under a name of its own (DNS
rebinding), so these pages answer to the server's own names alone.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from aiohttp import hdrs, web
from yarl import URL

_LOCAL = "localhost"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class OwnNames:
    """The names under which a server that listens on `listen_host` is asked."""

    listen_host: str

    def include(self, header: str) -> bool:
        """Return whether a Host header is loopback, or the address that the server listens on."""
        try:
            host = URL(f"http://{header}").host
        except ValueError:
            return False
        if host is None:
            return False
        address, listening = _address(host), _address(self.listen_host)
        if address is None:
            return host in (_LOCAL, self.listen_host.lower())
        # One that listens everywhere is asked by any of its addresses; a name is not among them.
        everywhere = listening is not None and listening.is_unspecified
        return address.is_loopback or address == listening or everywhere

    def check(self, request: web.Request) -> None:
        """Refuse a request under another name.

        Raises:
            web.HTTPMisdirectedRequest: its Host header is not the server's.
        """
        given = request.headers.getall(hdrs.HOST, [])
        if len(given) != 1 or not self.include(given[0]):
            raise web.HTTPMisdirectedRequest
