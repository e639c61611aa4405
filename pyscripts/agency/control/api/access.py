"""Access to the HTTP interface: by a live token, at its rate, within the policy.

A wrong token costs a hash and no look at the store. Bounds are by token, so that one person's
programs keep nobody else out; who has no token shares one allowance with all such.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from agency.clock import Clock
from agency.control.api.problems import RefusedError
from agency.control.grammar.spec import CommandSpec
from agency.control.kept.tokens import TokenDesk
from agency.control.policy import Deny, Policy, Role, needed, reaches
from agency.control.store.tokens import Token
from agency.web import QuietLog

_log = logging.getLogger(__name__)

_SCHEME = "Bearer "
_BURST_S = 6.0  # of requests at the rate that may come at once
_STRANGERS = ""  # the key of the allowance that all requests without a token share
MOST_AT_ONCE = 16  # requests of one token
MOST_STREAMS = 8  # of them, those that are open for long


@dataclass(slots=True)
class Rate:
    """Allowance of requests by key: so many a minute, and a burst of some seconds' worth."""

    clock: Clock
    per_minute: int
    most_keys: int = 1000
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, key: str) -> None:
        """Take one request from an allowance.

        Raises:
            RefusedError: there is none left.
        """
        per_s = self.per_minute / 60
        most, now = max(1.0, per_s * _BURST_S), self.clock.steady()
        left, at = self._left.pop(key, (most, now))
        left = min(most, left + (now - at) * per_s)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        while len(self._left) > self.most_keys:
            self._left.popitem(last=False)
        if not allowed:
            wait_s = (1 - left) / per_s
            raise RefusedError(429, "too many requests", retry_after_s=wait_s)


@dataclass(slots=True)
class Access:
    """Guard of the interface; `policy` is the one in force."""

    tokens: TokenDesk
    policy: Callable[[], Policy]
    rate: Rate
    _at_once: Counter[str] = field(default_factory=Counter)
    _streams: Counter[str] = field(default_factory=Counter)
    _quiet: QuietLog = field(default_factory=lambda: QuietLog(_log))

    def identify(self, request: web.Request) -> Token:
        """Return the token of a request, and take the request from its allowance.

        Raises:
            RefusedError: there is none that opens anything, or too many requests came.
        """
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        token = None
        if len(given) == 1 and given[0].startswith(_SCHEME):
            token = self.tokens.find(given[0].removeprefix(_SCHEME))
        if token is None:
            self.rate.take(_STRANGERS)
            self._quiet.warning("token", "refused a request without a live token")
            raise RefusedError(401, "a live token is needed, in the Authorization header")
        if token.person not in self.policy().people.everybody:
            raise RefusedError(403, f"{token.person} has no role in this agency")
        self.rate.take(token.digest)
        return token

    def stranger(self) -> None:
        """Take a request that asks for no token from the allowance of all such.

        Raises:
            RefusedError: too many came.
        """
        self.rate.take(_STRANGERS)

    def permit(self, token: Token, spec: CommandSpec) -> None:
        """Check that a token's person may give a command, and that the token reaches as far.

        Raises:
            RefusedError: one of the two does not.
        """
        match self.policy().decide(token.person, spec, ""):
            case Deny(code=code, message=message):
                raise RefusedError(403, message, code=code)
        if not reaches(Role(token.role), spec):
            text = f"this takes the role {needed(spec)}, and the token gives {token.role}"
            raise RefusedError(403, text, code="beyond-the-token")

    @contextmanager
    def place(self, token: Token) -> Iterator[None]:
        """Hold a place among a token's requests.

        Raises:
            RefusedError: it has too many open.
        """
        with _counted(self._at_once, token.digest, MOST_AT_ONCE):
            yield

    @contextmanager
    def stream(self, token: Token) -> Iterator[None]:
        """Hold a place among a token's requests that stay open. Raises as `place` does."""
        with _counted(self._streams, token.digest, MOST_STREAMS):
            yield


@contextmanager
def _counted(counts: Counter[str], key: str, most: int) -> Iterator[None]:
    if counts[key] >= most:
        raise RefusedError(429, f"a token has at most {most} of these open", retry_after_s=1)
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
