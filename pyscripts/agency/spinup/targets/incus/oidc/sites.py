"""Pages to which people log in with an account of the forge, and the account that each then shows.

    page ──▶ provider ──(log-in form, consent)──▶ page's callback ──▶ its own answer to "who am I"

A page that keeps its session in a cookie is one row of SITES; the homeserver has a flow of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agency.spinup.targets.incus.oidc.browser import Addresses, Browser, LoginError
from agency.spinup.targets.incus.oidc.flow import authorise, read_object, refuse_error
from agency.spinup.targets.incus.oidc.request import Request

WHOAMI = "/_matrix/client/v3/account/whoami"
_STRANGER = (401, 403)


@dataclass(frozen=True, slots=True)
class Site:
    """Paths of a page: where its log-in begins, comes back, and says in `login` who it is."""

    start: str
    callback: str
    me: str = "/api/user"


# Grafana: HTTP API, "Actual User"; Drone and Woodpecker: their user endpoints.
SITES: Mapping[str, Site] = {
    "grafana": Site("/login/generic_oauth", "/login/generic_oauth"),
    "drone": Site("/login", "/login"),
    "woodpecker": Site("/authorize", "/authorize"),
}


def homeserver_page(addresses: Addresses, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the homeserver's log-in as one of a page, and ask it as a stranger."""
    stranger = Browser(addresses).get(addresses.public + WHOAMI)
    asked = next(step for step in seen["steps"] if step["path"] == WHOAMI)
    return {
        "page": "matrix",
        "url": addresses.public + WHOAMI,
        "account": str(seen["userId"]).removeprefix("@").partition(":")[0],
        "status": asked["status"],
        "refusedStranger": stranger.status in _STRANGER,
    }


def further_pages(request: Request) -> Iterator[dict[str, Any]]:
    """Log in to every further page of a request, each in a browser of its own."""
    domain = (urlsplit(request.public).hostname or "").partition(".")[2]
    for name, inner in sorted(request.sites.items()):
        if name not in SITES:
            raise LoginError("no page is known by this name", where=name)
        public = f"https://{name}.{domain}"
        addresses = Addresses(public, inner, request.issuer)
        yield log_in_to(name, addresses, request.account, request.password)


def log_in_to(name: str, addresses: Addresses, account: str, password: str) -> dict[str, Any]:
    """Log in to a page, and read who it takes the browser for; a stranger is asked for first.

    Raises:
        LoginError: it does not lead to the provider, or does not come back.
    """
    site, public = SITES[name], addresses.public
    stranger = Browser(addresses).get(public + site.me)
    browser = Browser(addresses)
    callback = f"{public}{site.callback}?"
    page = browser.follow(browser.get(public + site.start), until=callback)
    refuse_error(page)
    if addresses.place(page.url) != "provider":  # its own form is not to see the password
        raise LoginError("does not lead to the provider", where=name)
    back = authorise(browser, page, account, password, callback)
    browser.follow(browser.get(back))
    answer = browser.get(public + site.me)
    return {
        "page": name,
        "url": public + site.me,
        "account": str(read_object(answer, 200).get("login")),
        "status": answer.status,
        "refusedStranger": stranger.status in _STRANGER,
    }
