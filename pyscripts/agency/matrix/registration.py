"""Registration of a user by the secret that Synapse shares with its administrators.

Source: Synapse documentation, "Shared-Secret Registration".
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

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
