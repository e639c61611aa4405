"""Log in by OpenID inside the guest and print what was seen: `python -m …incus.oidc.login`.

The request (`flow.Request`) comes by standard input. With an issuer as its only argument, waits
until that provider describes itself.
"""

from __future__ import annotations

import json
import sys
import time

from pydantic import ValidationError

from agency.clock import Clock
from agency.errors import AgencyError, ExitCode
from agency.spinup.targets.incus.oidc.browser import Addresses, Browser, LoginError
from agency.spinup.targets.incus.oidc.flow import (
    discover,
    log_in,
    try_tampered_state,
    try_wrong_password,
    wait_for_flow,
)
from agency.spinup.targets.incus.oidc.request import Request
from agency.spinup.targets.incus.oidc.sites import further_pages, homeserver_page

MAX_REQUEST = 64 * 1024
_PROVIDER_S = 30.0
_POLL_S = 0.1
_CLOCK = Clock()


def evidence(request: Request) -> dict[str, object]:
    """Log in, and try both things to be refused, each in a browser of its own."""
    addresses = Addresses(request.public, request.homeserver, request.issuer)
    wait_for_flow(addresses, request.idp)
    refused = {
        "wrongPassword": try_wrong_password(request, addresses),
        "tamperedState": try_tampered_state(request, addresses),
    }
    seen = {**log_in(request, addresses), "refused": refused}
    return {**seen, "pages": [homeserver_page(addresses, seen), *further_pages(request)]}


def wait_for_provider(
    issuer: str, *, timeout_s: float = _PROVIDER_S, clock: Clock = _CLOCK
) -> dict[str, object]:
    """Wait until a provider describes itself."""
    addresses = Addresses(issuer, issuer, issuer)
    end = clock.steady() + timeout_s
    while True:
        try:
            return discover(Browser(addresses))
        except LoginError:
            if clock.steady() >= end:
                raise
            time.sleep(_POLL_S)


def main(arguments: list[str]) -> int:
    """Exit status: as everywhere."""
    try:
        if arguments:
            found = wait_for_provider(arguments[0])
        else:
            text = sys.stdin.read(MAX_REQUEST)
            found = evidence(Request.model_validate_json(text))
    except ValidationError:
        sys.stderr.write("the request is not as it should be\n")
        return int(ExitCode.USAGE)
    except AgencyError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.write(json.dumps(found) + "\n")
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
