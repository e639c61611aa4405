"""Rules of the edge: TLS by name on port 443, the client's true address, a log-in by a browser."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from agency import naming
from agency.transcript.rules.v1.rule import (
    All,
    Http200,
    MatrixId,
    No,
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Some,
    Url,
    Yes,
    matches,
)

# The longest that a browser is to remember is two years; a year is the least that is taken.
MIN_HSTS_S = 31_536_000
_HSTS = re.compile(r"max-age=([0-9]{1,10})(?:;.*)?\Z")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
}

Address = Annotated[Seen, matches(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f:]*:[0-9a-f:]*", "an IP")]
Host = Annotated[Seen, matches(r"[a-z0-9.-]+", "a name of a host")]
Modern = Literal["TLSv1.2", "TLSv1.3"]
Moment = Annotated[
    str,
    matches(r"[0-9-]{10}T[0-9:]{8}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9:]{5})", "a time with its offset"),
]


def _covers(name: str, host: str) -> bool:
    """Return whether a name of a certificate is a host's; a star stands for one label."""
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:]
    return name == host


class Site(Shape):
    """One name, asked over TLS as a client that trusts the authority alone."""

    host: Host
    verified: Yes
    protocol: Modern
    names: Some[Seen]
    not_before: Moment
    not_after: Moment
    at: Moment
    certificate: Sha256
    status: Annotated[int, Field(ge=200, lt=500)]
    headers: dict[str, str]

    @model_validator(mode="after")
    def _certificate(self) -> Self:
        if not any(_covers(name, self.host) for name in self.names):
            raise ValueError(f"names: none is that of {self.host}")
        begin, seen, end = map(datetime.fromisoformat, (self.not_before, self.at, self.not_after))
        if not begin <= seen < end:
            raise ValueError("notAfter: not valid when it was looked at")
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        found = _HSTS.match(self.headers.get("strict-transport-security", ""))
        if found is None or int(found[1]) < MIN_HSTS_S:
            raise ValueError(f"headers: HSTS of {self.host} is missing or too short")
        for name, value in _HEADERS.items():
            if self.headers.get(name) != value:
                raise ValueError(f"headers: {name} of {self.host} is not {value}")
        return self


class Nameless(Shape):
    """A handshake without a name: it ends before any certificate is shown."""

    outcome: Literal["refused"]
    alert: Annotated[Seen, matches(r"[A-Z0-9_]*UNRECOGNIZED_NAME", "the alert for unknown names")]


class Unknown(Nameless):
    """The same with a name that no site has."""

    host: Host


class OldProtocol(Shape):
    """A handshake that offers nothing newer than TLS 1.1."""

    offered: Literal["TLSv1.1"]
    outcome: Literal["refused"]
    # By the edge: the client would have taken it.
    alert: Annotated[Seen, matches(r"[A-Z0-9_]*PROTOCOL_VERSION", "the alert for old versions")]


class Closed(Shape):
    """A path that the edge does not pass on."""

    url: Url
    status: Annotated[int, Field(ge=404, le=404)]


class PlainHttp(Shape):
    """An answer to plain HTTP: at its own port nobody, at 443 no page."""

    port80: Literal["refused"]
    served443: No


class EdgeTls(Shape):
    """Every site of the edge, and what it refuses."""

    authority: Sha256
    sites: Some[Site]
    unknown: Some[Unknown]
    nameless: Nameless
    old_protocol: OldProtocol
    closed: Some[Closed]
    plain_http: PlainHttp

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len({site.host for site in self.sites}) != len(self.sites):
            raise ValueError("sites: one comes twice")
        if {one.host for one in self.unknown} & {site.host for site in self.sites}:
            raise ValueError("unknown: the name of a site")
        return self


class Request(Shape):
    """A request that lied about its sender, and the addresses that the homeserver kept of it."""

    user_agent: Seen
    client: Address
    claimed: Address
    status: Http200
    kept: All[Address]

    @model_validator(mode="after")
    def _lie(self) -> Self:
        if self.client == self.claimed:
            raise ValueError("claimed: no lie")
        return self


class Talk(Shape):
    """Addresses that the homeserver kept of the person of the conversation."""

    user_agent: Seen
    client: Address
    kept: Some[Address]


class ClientAddress(Shape):
    """Addresses of clients as the homeserver has them."""

    user_id: MatrixId
    lies: Some[Annotated[Seen, matches(r"[A-Za-z-]+", "the name of a header")]]
    through_edge: Request
    past_edge: Request
    conversation: Talk

    @model_validator(mode="after")
    def _true(self) -> Self:
        if "X-Forwarded-For" not in self.lies:
            raise ValueError("lies: nobody tried X-Forwarded-For")
        if self.through_edge.kept != (self.through_edge.client,):
            raise ValueError("throughEdge.kept: not the client's true address alone")
        # The control: without the edge before it the homeserver believes the same words.
        if self.past_edge.kept != (self.past_edge.claimed,):
            raise ValueError("pastEdge.kept: the lie would not have been believed anyhow")
        if self.conversation.kept != (self.conversation.client,):
            raise ValueError("conversation.kept: the conversation did not come through the edge")
        agents = {self.through_edge.user_agent, self.past_edge.user_agent}
        if len({*agents, self.conversation.user_agent}) != 3:
            raise ValueError("userAgent: two requests cannot be told apart")
        return self


class BrowserTls(Shape):
    """The connection as the browser says it; it took the certificate without an exception."""

    protocol: Annotated[Seen, matches(r"TLS 1\.[23]|QUIC", "TLS 1.2 or newer")]
    subject_name: Seen
    valid_to: Moment


class Call(Shape):
    """One request of the page."""

    method: Literal["GET", "POST", "OPTIONS"]
    host: Host
    path: Annotated[Seen, matches(r"/[^?#]*", "a path without a query")]
    status: int


class EdgeLogin(Shape):
    """A log-in by a browser, from Element's site to the homeserver's answer to whoami."""

    browser: Annotated[Seen, matches(r"\S*Chrom\S*/[0-9.]+", "a Chromium and its version")]
    page: Url
    title: Literal["Stand-in for Element Web", "Element"]  # which of the two was there
    connection: BrowserTls
    calls: Some[Call]
    user_id: MatrixId
    wrong_password: Literal["403 M_FORBIDDEN"]

    @model_validator(mode="after")
    def _by_the_edge(self) -> Self:
        domain = self.user_id.partition(":")[2]
        page = urlsplit(self.page)
        if page.scheme != "https" or page.hostname != naming.public_host("element", domain):
            raise ValueError("page: not Element's site of the homeserver's domain")
        matrix = naming.public_host("matrix", domain)
        done = {(call.method, call.host, call.path) for call in self.calls if call.status == 200}
        client = "/_matrix/client/v3"
        wanted = {
            ("GET", page.hostname, "/config.json"),
            ("POST", matrix, f"{client}/login"),
            ("GET", matrix, f"{client}/account/whoami"),
        }
        missing = sorted(path for _, _, path in wanted - done)
        if missing:
            raise ValueError(f"calls: none of {', '.join(missing)} was answered by the edge")
        return self


RULES = (
    ProbeRule(
        "edge.tls",
        "Every site of the edge has the certificate of the run's authority, valid then and in its "
        "name, HSTS and its headers; unknown names, old TLS, plain HTTP and other paths are "
        "refused.",
        EdgeTls,
        frozenset(),
    ),
    ProbeRule(
        "edge.client-address",
        "The homeserver keeps the true address of who comes through the edge, whatever their "
        "headers claim; the conversation came through it.",
        ClientAddress,
        frozenset(),
    ),
    ProbeRule(
        "edge.login",
        "A headless Chromium that trusts the run's authority logs a person in from the page at "
        "Element's site; a wrong password is refused.",
        EdgeLogin,
        frozenset(),
    ),
)
