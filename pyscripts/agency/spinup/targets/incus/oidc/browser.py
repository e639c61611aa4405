"""A browser without a screen: one cookie jar, pages of bounded size, no address but the two.

Cookies belong to the addresses that a person would see. The homeserver's is public and has TLS, by
the edge; here the edge's part is played: what goes to the public address is handed to the
homeserver's own port, and it is told so by the headers that the edge sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import mechanicalsoup
import requests
from bs4 import Tag
from requests.adapters import HTTPAdapter

from agency.errors import AgencyError

MAX_REQUESTS = 24  # of one log-in
MAX_REDIRECTS = 15
MAX_PAGE = 1024 * 1024
LOOPBACK = ("127.0.0.1", "::1")

_TIMEOUT_S = 15.0
_REDIRECTS = (301, 302, 303, 307, 308)
_ID = re.compile(r"[A-Za-z0-9_-]{20,}")

Place = Literal["homeserver", "provider"]


class LoginError(AgencyError):
    """The log-in did not go as it should; no token, code or cookie is in the message."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request: to whom, and the answer's status. Ids in the path are left out."""

    at: Place
    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True)
class Page:
    """An answer. `location` is absolute, and None where the answer is no redirect."""

    url: str
    status: int
    body: str
    location: str | None


@dataclass(frozen=True, slots=True)
class Addresses:
    """The only two places there are: the homeserver, public and on loopback, and the provider."""

    public: str
    homeserver: str
    issuer: str

    def __post_init__(self) -> None:
        for url in (self.homeserver, self.issuer):
            if urlsplit(url).hostname not in LOOPBACK:
                raise LoginError("is not on loopback", where=url)

    def place(self, url: str) -> Place:
        """Whose address it is.

        Raises:
            LoginError: neither's.
        """
        if _origin(url) == _origin(self.public):
            return "homeserver"
        if _origin(url) == _origin(self.issuer):
            return "provider"
        raise LoginError("the log-in led elsewhere", where=f"//{urlsplit(url).netloc}")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


class _Edge(HTTPAdapter):
    """Hands what is for the public address to the homeserver, as the edge does."""

    def __init__(self, addresses: Addresses) -> None:
        super().__init__()
        self._inner = urlsplit(addresses.homeserver)

    def send(
        self, request: requests.PreparedRequest, *args: object, **kwargs: object
    ) -> requests.Response:
        outer = urlsplit(request.url or "")
        inner = request.copy()
        inner.url = urlunsplit(
            (self._inner.scheme, self._inner.netloc, outer.path, outer.query, "")
        )
        inner.headers["Host"] = outer.netloc
        inner.headers["X-Forwarded-Proto"] = outer.scheme
        inner.headers["X-Forwarded-For"] = "127.0.0.1"
        response = super().send(inner, *args, **kwargs)  # type: ignore[arg-type]
        response.url, response.request = request.url or "", request
        return response


@dataclass(slots=True)
class Browser:
    """A fresh browser: nothing is remembered of another."""

    addresses: Addresses
    steps: list[Step] = field(default_factory=list)
    visited: list[str] = field(default_factory=list)  # whole addresses, which may hold secrets
    _redirects: int = 0
    _session: requests.Session = field(init=False)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount(self.addresses.public, _Edge(self.addresses))

    def get(self, url: str, *, token: str | None = None) -> Page:
        """One GET; a redirect is an answer."""
        return self._ask("GET", url, token=token)

    def submit(self, page: Page, form: Tag) -> Page:
        """Send a form of a page as it is filled in."""
        request = mechanicalsoup.Browser.get_request_kwargs(form, page.url)
        return self._ask("POST", request["url"], form=request["data"])

    def post(self, url: str, document: Mapping[str, object], *, token: str | None = None) -> Page:
        """Post JSON."""
        return self._ask("POST", url, document=document, token=token)

    def follow(self, page: Page, *, until: str | None = None) -> Page:
        """Go where redirects lead, to a page that is none, or one that leads to what is `until`."""
        while page.location is not None:
            if until is not None and page.location.startswith(until):
                break
            if self._redirects >= MAX_REDIRECTS:
                raise LoginError(f"more than {MAX_REDIRECTS} redirects", where=path_of(page.url))
            self._redirects += 1
            page = self.get(page.location)
        return page

    def _ask(
        self,
        method: str,
        url: str,
        *,
        form: list[tuple[str, str]] | None = None,
        document: Mapping[str, object] | None = None,
        token: str | None = None,
    ) -> Page:
        at = self.addresses.place(url)
        if len(self.steps) >= MAX_REQUESTS:
            raise LoginError(f"more than {MAX_REQUESTS} requests", where=path_of(url))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with self._session.request(
                *(method, url),
                data=form,
                json=document,
                headers=headers,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = response.raw.read(MAX_PAGE + 1, decode_content=True)
        except requests.RequestException as error:
            # What it says may hold the whole address.
            raise LoginError(
                f"no answer: {type(error).__name__}", where=f"{method} {path_of(url)}"
            ) from None
        if len(body) > MAX_PAGE:
            raise LoginError(f"more than {MAX_PAGE} bytes", where=path_of(url))
        self.visited.append(url)
        self.steps.append(Step(at, method, path_of(url), response.status_code))
        location = response.headers.get("Location")
        redirected = response.status_code in _REDIRECTS and location is not None
        target = urljoin(url, location) if redirected else None
        return Page(url, response.status_code, body.decode(errors="replace"), target)


def path_of(url: str) -> str:
    """Return the path of a URL without its query; whatever looks like an id is `{id}`."""
    parts = urlsplit(url).path.split("/")
    return "/".join("{id}" if _ID.fullmatch(part) else part for part in parts)
