"""The probe `edge.login`: a person logs in with a real browser, from the page at Element's site."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from agency import naming
from agency.matrix import localpart
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.parts import Shop
from agency.spinup.targets.incus.parts.edge.browser import Browser, BrowserError, Route, browsing
from agency.spinup.targets.incus.parts.edge.door import BROWSER, PORT

_DONE = "logged in "
_REFUSED = "refused "


async def edge_login(shop: Shop, authority: str) -> Evidence:
    """Log the first operator in, after a try with a wrong password; return the evidence.

    Raises:
        BrowserError: the browser refuses the certificate, or the page does not come to an end.
        PrerequisiteError: the browser or certutil is not installed.
    """
    domain = shop.instance.domain
    page = f"https://{naming.public_host('element', domain)}/"
    user = localpart(shop.instance.operators[0])
    async with shop.guest.forward(PORT, source=BROWSER) as port:
        route = Route(domain, port, authority)
        async with browsing(route, shop.directory / "browser") as browser:
            await browser.open(page)
            title = await browser.evaluate("document.title")
            wrong = await _log_in(browser, user, secrets.token_urlsafe(24))
            right = await _log_in(browser, user, shop.secrets.password.reveal())
            product, answers = browser.product, list(browser.answers)
    if not right.startswith(_DONE):
        raise BrowserError(f"the page says: {right[:200]}", where=page)
    document = next(one for one in answers if one["url"] == page)
    return {
        "browser": product,
        "page": page,
        "title": title,
        "connection": _connection(document["security"]),
        "calls": [_call(answer) for answer in answers],
        "userId": right.removeprefix(_DONE),
        "wrongPassword": wrong.removeprefix(_REFUSED),
    }


async def _log_in(browser: Browser, user: str, password: str) -> str:
    """Fill in the form as a person would, and wait for the page's word."""
    await browser.fill("[name=user]", user)
    await browser.fill("[name=password]", password)
    await browser.evaluate("document.getElementById('state').textContent = 'busy'")
    await browser.evaluate("document.querySelector('#login button').click()")
    return await browser.until_not("document.getElementById('state').textContent", ("busy", "idle"))


def _connection(security: dict[str, Any]) -> Evidence:
    return {
        "protocol": security["protocol"],
        "subjectName": security["subjectName"],
        "issuer": security["issuer"],
        "validTo": datetime.fromtimestamp(security["validTo"], UTC).isoformat(),
    }


def _call(answer: dict[str, Any]) -> Evidence:
    url = urlsplit(answer["url"])
    return {
        "method": answer["method"],
        "host": url.hostname,
        "path": url.path,
        "status": answer["status"],
    }
