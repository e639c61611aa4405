"""Registration of a user by the secret that Synapse shares with its administrators.

Source: Synapse documentation, "Shared-Secret Registration".
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from agency.matrix.session import MatrixSession

REGISTRATION_PATH = "/_synapse/admin/v1/register"


def registration_body(
    nonce: str, localpart: str, password: str, shared_secret: str, *, admin: bool = False
) -> dict[str, Any]:
    """Return the body that registers a user, with the rights of an administrator if `admin`."""
    mac = hmac.new(shared_secret.encode(), digestmod=hashlib.sha1)
    parts = (nonce, localpart, password, "admin" if admin else "notadmin")
    mac.update(b"\0".join(part.encode() for part in parts))
    return {
        "nonce": nonce,
        "username": localpart,
        "password": password,
        "admin": admin,
        "mac": mac.hexdigest(),
    }


async def register(
    api: MatrixSession,
    localpart: str,
    password: str,
    shared_secret: str,
    *,
    admin: bool = False,
) -> dict[str, Any]:
    """Register a user at the homeserver of `api`; return its answer, with the access token.

    Raises:
        MatrixError: the homeserver refused or did not answer.
    """
    answer = await api.request("GET", REGISTRATION_PATH)
    nonce = str(answer.get("nonce"))
    body = registration_body(nonce, localpart, password, shared_secret, admin=admin)
    return await api.request("POST", REGISTRATION_PATH, body)
