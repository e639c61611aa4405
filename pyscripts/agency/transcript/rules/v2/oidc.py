"""Evidence of a log-in through an OpenID provider."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from agency import naming
from agency.transcript.rules.v2.rule import (
    MatrixId,
    Name,
    No,
    Path,
    ProbeRule,
    Seen,
    Shape,
    Some,
    Url,
    Version,
    matches,
)

CLIENT = "/_matrix/client/v3"
CALLBACK = "/_synapse/client/oidc/callback"

_MOVED = range(301, 309)


class Provider(Shape):
    """Whose accounts they are. What is no GitLab says so."""

    name: Name
    version: Version
    kind: Literal["certified provider package, not GitLab", "GitLab"]


class Step(Shape):
    """One request of the browser, in its order; the path has no query and no ids."""

    at: Literal["homeserver", "provider"]
    method: Literal["GET", "POST"]
    path: Annotated[Path, matches(r"/[^?#]*", "a path without a query")]
    status: Annotated[int, Field(ge=200, lt=400)]


class AuthorizationRequest(Shape):
    """Request with which the homeserver led to the provider.

    Lengths in characters; of a SHA-256 in base64url (RFC 7636, section 4.2), and of at least 16
    random ones.
    """

    response_type: Literal["code"]
    code_challenge_method: Literal["S256"]
    code_challenge_length: Literal[43]
    state_length: Annotated[int, Field(ge=16)]
    nonce_length: Annotated[int, Field(ge=16)]


class WrongPassword(Shape):
    """The provider's answer to a wrong password."""

    status: Literal[401, 403, 422]
    reached_callback: No


class TamperedState(Shape):
    """The homeserver's answer to a real code with another state."""

    status: Literal[400, 401, 403]
    errcode: Literal["mismatching_session", "invalid_session"]


class Refused(Shape):
    """Attempts that must not log in."""

    wrong_password: WrongPassword
    tampered_state: TamperedState


class OidcLogin(Shape):
    """A log-in by authorisation code, from the homeserver's offer to `whoami`."""

    provider: Provider
    issuer: Url
    authorization_endpoint: Url
    homeserver: Url
    idp: Annotated[Seen, matches(r"oidc-[A-Za-z0-9_.~-]+", "a provider of the homeserver")]
    account: Annotated[Seen, matches(r"[a-z0-9._=/+-]{1,200}", "a localpart")]
    authorization_request: AuthorizationRequest
    steps: Some[Step]
    user_id: MatrixId
    device_id: Annotated[Seen, matches(r"[\x21-\x7e]{1,255}", "a device id")]
    refused: Refused

    @model_validator(mode="after")
    def _who(self) -> Self:
        localpart, _, domain = self.user_id.removeprefix("@").partition(":")
        if localpart != self.account:
            raise ValueError("userId: another account than the one that logged in")
        public = urlsplit(self.homeserver)
        if public.scheme != "https" or public.netloc != naming.public_host("matrix", domain):
            raise ValueError("userId: not of the homeserver that was logged in to")
        return self

    @model_validator(mode="after")
    def _where(self) -> Self:
        issuer = urlsplit(self.issuer)
        if issuer.scheme != "https" and issuer.hostname != "127.0.0.1":
            raise ValueError("issuer: in plain HTTP, and not on loopback")
        if not self.authorization_endpoint.startswith(f"{self.issuer}/"):
            raise ValueError("authorizationEndpoint: not the issuer's")
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """Check that the steps of this flow are there, one after the other."""
        left = iter(self.steps)
        for what, at, method, path, statuses in self._landmarks():
            if not any(
                (step.at, step.method, step.path) == (at, method, path) and step.status in statuses
                for step in left
            ):
                raise ValueError(f"steps: {what} is missing or out of its order")
        return self

    def _landmarks(self) -> tuple[tuple[str, str, str, str, range], ...]:
        done = range(200, 201)
        authorize = urlsplit(self.authorization_endpoint).path
        redirect = f"{CLIENT}/login/sso/redirect/{self.idp}"
        return (
            ("the homeserver's offer", "homeserver", "GET", f"{CLIENT}/login", done),
            ("the way to the provider", "homeserver", "GET", redirect, _MOVED),
            ("the authorisation request", "provider", "GET", authorize, _MOVED),
            ("the callback", "homeserver", "GET", CALLBACK, range(200, 309)),
            ("the log-in by token", "homeserver", "POST", f"{CLIENT}/login", done),
            ("whoami", "homeserver", "GET", f"{CLIENT}/account/whoami", done),
        )


RULES = (
    ProbeRule(
        "login.oidc",
        "Who logs in at the OpenID provider is that account at the homeserver, by a request with "
        "state, nonce and PKCE; a wrong password and a tampered state are refused.",
        OidcLogin,
        frozenset(("incus",)),
    ),
)
