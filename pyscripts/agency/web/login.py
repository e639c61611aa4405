"""Log-in: a bearer token for programs, a session cookie for people.

Source: RFC 6750, section 2.1; RFC 6265bis, "The __Host- Prefix" and "SameSite".
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from aiohttp import hdrs, web

from agency.clock import Clock

# The prefix makes browsers take it only over TLS, for this host alone and for every path.
COOKIE = "__Host-agency-session"


def carries_bearer(request: web.Request, token: str) -> bool:
    """Return, in constant time, whether the request's one Authorization header carries `token`."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    presented = given[0].encode(errors="surrogateescape") if len(given) == 1 else b""
    return bool(token) and hmac.compare_digest(presented, f"Bearer {token}".encode())


@dataclass(frozen=True, slots=True)
class Session:
    """A person's log-in; `form_token` must come with every form that changes something."""

    user: str
    form_token: str = field(repr=False)
    started: float  # seconds of the steady clock, like `used`
    used: float

    def takes_form(self, form_token: str) -> bool:
        """Return, in constant time, whether a form was made for this session."""
        return hmac.compare_digest(
            form_token.encode(errors="surrogateescape"), self.form_token.encode()
        )


@dataclass(slots=True)
class Sessions:
    """Log-ins in memory, by the digest of the token: a restart ends them, a dump shows no token."""

    clock: Clock = field(default_factory=Clock)
    idle_s: float = 1800.0
    longest_s: float = 12 * 3600.0
    most: int = 1000  # then the one that was used least recently ends
    make_token: Callable[[], str] = secrets.token_urlsafe
    _by_digest: OrderedDict[str, Session] = field(default_factory=OrderedDict)

    def start(self, user: str) -> str:
        """Begin a session; return its token, for `set_cookie`."""
        token, now = self.make_token(), self.clock.steady()
        while len(self._by_digest) >= self.most:
            self._by_digest.popitem(last=False)
        self._by_digest[_digest(token)] = Session(user, self.make_token(), now, now)
        return token

    def of(self, request: web.Request) -> Session | None:
        """Find the session of a request; None if it has none, or if the session has ended."""
        digest = _digest(request.cookies.get(COOKIE, ""))
        session, now = self._by_digest.get(digest), self.clock.steady()
        if session is None:
            return None
        if now - session.used > self.idle_s or now - session.started > self.longest_s:
            del self._by_digest[digest]
            return None
        self._by_digest[digest] = replace(session, used=now)
        self._by_digest.move_to_end(digest)
        return session

    def end(self, request: web.Request) -> None:
        """End the session of a request, if it has one."""
        self._by_digest.pop(_digest(request.cookies.get(COOKIE, "")), None)


def set_cookie(response: web.Response, token: str) -> None:
    """Set a session's token as a cookie: for this host over TLS, hidden from scripts."""
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="Strict")


def drop_cookie(response: web.Response) -> None:
    """Delete the session cookie in the browser."""
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
