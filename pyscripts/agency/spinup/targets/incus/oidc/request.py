"""Request to the program that logs in inside a guest. It alone needs the libraries of a browser."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

CALLBACK = "/_synapse/client/oidc/callback"


class Request(BaseModel):
    """Account to log in with, and where. It holds passwords, and travels by standard input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    homeserver: str  # on loopback
    public: str  # as people see it, without a slash at the end
    issuer: str
    idp: str
    account: str
    password: str
    wrong_password: str
    sites: dict[str, str] = {}  # further pages to log in to: the address on loopback by the name
