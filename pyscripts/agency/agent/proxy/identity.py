"""Identity of the caller: the agent whose token came with the request."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from aiohttp import hdrs, web

API_KEY = "X-Api-Key"


def presented(request: web.Request) -> bytes:
    """Return the one token of a request; empty if there is none or more than one.

    Programs send it as the key of their provider: as a bearer token, or in a header of its own.
    """
    bearer = request.headers.getall(hdrs.AUTHORIZATION, [])
    keys = request.headers.getall(API_KEY, [])
    tokens = [each.removeprefix("Bearer ") for each in bearer if each.startswith("Bearer ")]
    if len(tokens) != len(bearer) or len(set(tokens + keys)) != 1:
        return b""
    return (tokens + keys)[0].encode(errors="surrogateescape")


def owner(token: bytes, digests: Mapping[str, str]) -> str | None:
    """Find whose token it is; takes the same time whoever's it is. `digests` are by name."""
    digest = hashlib.sha256(token).hexdigest()
    found = None
    for name, expected in digests.items():
        if hmac.compare_digest(digest, expected) and token:
            found = name
    return found
