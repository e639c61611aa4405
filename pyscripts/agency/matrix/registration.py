"""Registration of a user by the secret that Synapse shares with its administrators.

Source: Synapse documentation, "Shared-Secret Registration".
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

REGISTRATION_PATH = "/_synapse/admin/v1/register"


def registration_body(
    nonce: str, localpart: str, password: str, shared_secret: str
) -> dict[str, Any]:
    """Return the body that registers a user without administrator rights."""
    mac = hmac.new(shared_secret.encode(), digestmod=hashlib.sha1)
    mac.update(b"\0".join(part.encode() for part in (nonce, localpart, password, "notadmin")))
    return {
        "nonce": nonce,
        "username": localpart,
        "password": password,
        "admin": False,
        "mac": mac.hexdigest(),
    }
