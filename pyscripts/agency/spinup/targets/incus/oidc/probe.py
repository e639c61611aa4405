"""The probe `login.oidc`: a log-in to a guest's homeserver through the provider that runs there."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from agency import naming
from agency.guests import Guest
from agency.spinup.targets.incus.oidc.provider import DRIVER, NOBODY, NewSecret, RunningProvider
from agency.spinup.targets.incus.oidc.request import Request

PROBE = "login.oidc"
PAGES = "oidc.login"

_LOGIN_S = 120.0


async def oidc_login(
    guest: Guest,
    running: RunningProvider,
    *,
    new_secret: NewSecret = lambda: secrets.token_urlsafe(32),
) -> dict[str, Any]:
    """Log in, try what must be refused, log out; returns the evidence, which holds no secret.

    All of it happens in the guest, by a user without rights: the addresses are of its loopback.

    Raises:
        MachineError: a log-in that should succeed does not, with the step that failed.
    """
    request = Request(
        homeserver=f"http://127.0.0.1:{naming.SERVICE_PORTS['synapse']}",
        public=running.public,
        issuer=running.wiring.issuer,
        idp=running.wiring.idp,
        account=running.account,
        password=running.password,
        wrong_password=new_secret(),
    )
    stdin = request.model_dump_json().encode()
    argv = (running.python, *DRIVER)
    seen = await guest.run(*argv, stdin=stdin, timeout_s=_LOGIN_S, uid=NOBODY, gid=NOBODY)
    return {"provider": running.facts, **json.loads(seen)}


def pages_evidence(seen: Mapping[str, Any], instance: Mapping[str, str]) -> dict[str, Any]:
    """Describe the same log-in by the pages that the account was let into."""
    return {
        "instance": dict(instance),
        "kind": seen["provider"]["kind"],
        "issuer": seen["issuer"],
        "account": seen["account"],
        "pages": seen["pages"],
    }
