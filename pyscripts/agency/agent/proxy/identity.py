"""Identity of the caller: the agent whose token came with the request."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import hdrs, web

from agency.agent.proxy.config import Account
from agency.errors import AgencyError
from agency.settings import read_bounded

API_KEY = "X-Api-Key"
_DIGEST = re.compile(rb"[0-9a-f]{64}\n?")
_MOST = 65


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


@dataclass(slots=True)
class Tokens:
    """Digests of the agents' tokens: those of the configuration, and those in files.

    A file that is not there, or holds no digest, lets nobody in; a changed one counts from the next
    request on.
    """

    accounts: Mapping[str, Account]
    fixed: Mapping[str, str]
    _read: dict[Path, tuple[tuple[int, ...], str | None]] = field(default_factory=dict)

    def digests(self) -> dict[str, str]:
        """Return the digests that count now, by name."""
        return {**self.fixed, **dict(self._of_accounts())}

    def _of_accounts(self) -> Iterator[tuple[str, str]]:
        for name, account in self.accounts.items():
            held = account.token_sha256
            if account.token_file is not None:
                held = self._in_file(account.token_file)
            if held is not None:
                yield name, held

    def _in_file(self, path: Path) -> str | None:
        try:
            found = path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._read.get(path)
            if known is None or known[0] != state:
                content = read_bounded(path, most=_MOST, what="the digest of a token")
                whole = _DIGEST.fullmatch(content) is not None
                known = self._read[path] = (state, content.decode().strip() if whole else None)
        except (OSError, AgencyError):
            self._read.pop(path, None)
            return None
        return known[1]
