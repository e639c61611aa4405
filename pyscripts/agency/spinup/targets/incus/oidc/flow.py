"""One log-in by authorisation code, step by step, and what must be refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

from agency.clock import Clock
from agency.spinup.targets.incus.oidc.browser import Addresses, Browser, LoginError, Page, path_of
from agency.spinup.targets.incus.oidc.pages import (
    consent_form,
    error_code,
    fill_in,
    links,
    login_form,
)
from agency.spinup.targets.incus.oidc.request import CALLBACK, Request

DEVICE = "spin-up: login.oidc"

_DISCOVERY = "/.well-known/openid-configuration"
_CLIENT = "/_matrix/client/v3"
# Where a client would be; nobody goes there.
_RETURN = "http://127.0.0.1/logged-in"
_WAIT_S = 60.0
_POLL_S = 0.25
_CLOCK = Clock()


def discover(browser: Browser) -> dict[str, Any]:
    """Read the provider's own description, which must be for its issuer."""
    issuer = browser.addresses.issuer
    found = read_object(browser.get(issuer + _DISCOVERY), 200)
    if found.get("issuer") != issuer:
        raise LoginError("describes another issuer", where=issuer)
    return found


def wait_for_flow(
    addresses: Addresses, idp: str, *, timeout_s: float = _WAIT_S, clock: Clock = _CLOCK
) -> None:
    """Wait until the homeserver offers the provider: it is restarted when a client is issued.

    Raises:
        LoginError: it does not in time.
    """
    end = clock.steady() + timeout_s
    while True:
        try:
            _check_flow(Browser(addresses), idp)
        except LoginError as error:
            if clock.steady() >= end:
                raise LoginError(
                    f"not within {timeout_s:g} s: {error.message}", where=error.where
                ) from error
            time.sleep(_POLL_S)
        else:
            return


def _check_flow(browser: Browser, idp: str) -> None:
    answer = read_object(browser.get(f"{browser.addresses.public}{_CLIENT}/login"), 200)
    for flow in answer.get("flows", []):
        if flow.get("type") == "m.login.sso":
            offered = [one.get("id") for one in flow.get("identity_providers", [])]
            if idp in offered:
                return
    raise LoginError("the homeserver does not offer the provider", where=idp)


def log_in(request: Request, addresses: Addresses) -> dict[str, Any]:
    """Log in and out again; the facts of what was seen."""
    description = discover(Browser(addresses))
    browser = Browser(addresses)
    callback = _to_callback(browser, request, description["authorization_endpoint"])
    page = browser.follow(browser.get(callback), until=_RETURN)
    login_token = _login_token(page)
    credentials = {
        "type": "m.login.token",
        "token": login_token,
        "initial_device_display_name": DEVICE,
    }
    login = read_object(browser.post(f"{addresses.public}{_CLIENT}/login", credentials), 200)
    token = str(login["access_token"])
    seen = read_object(browser.get(f"{addresses.public}{_CLIENT}/account/whoami", token=token), 200)
    read_object(browser.post(f"{addresses.public}{_CLIENT}/logout", {}, token=token), 200)
    return {
        "issuer": description["issuer"],
        "authorizationEndpoint": description["authorization_endpoint"],
        "homeserver": addresses.public,
        "idp": request.idp,
        "account": request.account,
        "authorizationRequest": _asked(browser),
        "steps": [asdict(step) for step in browser.steps],
        "userId": seen["user_id"],
        "deviceId": seen["device_id"],
    }


def try_wrong_password(request: Request, addresses: Addresses) -> dict[str, Any]:
    """Log in with a password that is not the account's."""
    browser = Browser(addresses)
    callback = addresses.public + CALLBACK
    first = _login_page(browser, request)
    page = _sign_in(browser, first, request.account, request.wrong_password, callback)
    return {"status": page.status, "reachedCallback": _is_callback(page, addresses)}


def try_tampered_state(request: Request, addresses: Addresses) -> dict[str, Any]:
    """Come back from a real log-in, with its code and cookie, and another state."""
    description = discover(Browser(addresses))
    browser = Browser(addresses)
    callback = _to_callback(browser, request, description["authorization_endpoint"])
    parts = urlsplit(callback)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query["state"] = _another(query["state"])
    page = browser.get(urlunsplit(parts._replace(query=urlencode(query))))
    return {"status": page.status, "errcode": error_code(page)}


def _another(state: str) -> str:
    return ("a" if state[0] != "a" else "b") + state[1:]


def _login_page(browser: Browser, request: Request) -> Page:
    """Go to the provider, by the homeserver."""
    public = browser.addresses.public
    _check_flow(browser, request.idp)
    start = f"{public}{_CLIENT}/login/sso/redirect/{quote(request.idp)}?" + urlencode(
        {"redirectUrl": _RETURN}
    )
    page = browser.follow(browser.get(start), until=public + CALLBACK)
    refuse_error(page)
    return page


def _sign_in(browser: Browser, page: Page, account: str, password: str, callback: str) -> Page:
    """Send name and password; returns the page that the provider answers with."""
    form = login_form(page)
    if form is None:
        raise LoginError(f"there is no log-in form: {page.status}", where=browser.steps[-1].path)
    if not fill_in(form, account, password):
        raise LoginError("the log-in form has no field for a name", where=browser.steps[-1].path)
    return browser.follow(browser.submit(page, form), until=callback)


def _to_callback(browser: Browser, request: Request, endpoint: str) -> str:
    """Log in at the provider, to which the homeserver led; returns the address of the way back."""
    page = _login_page(browser, request)
    asked = [step for step in browser.steps if step.at == "provider"]
    if not asked or asked[0].path != urlsplit(endpoint).path:
        raise LoginError("the homeserver did not lead to the authorisation endpoint")
    callback = browser.addresses.public + CALLBACK
    return authorise(browser, page, request.account, request.password, callback)


def authorise(browser: Browser, page: Page, account: str, password: str, callback: str) -> str:
    """Log in at the provider and allow what it asks; returns the address that it sends back to.

    Raises:
        LoginError: the provider refuses, or asks for something else.
    """
    page = _sign_in(browser, page, account, password, callback)
    refuse_error(page)
    while page.location is None:  # a question; the number of requests is bounded
        consent = consent_form(page)
        if page.status != 200 or consent is None:
            raise LoginError(f"the provider refused: {page.status}", where=browser.steps[-1].path)
        page = browser.follow(browser.submit(page, consent), until=callback)
        refuse_error(page)
    return page.location


def _asked(browser: Browser) -> dict[str, Any]:
    """Describe the request that led the browser to the provider; of secrets, the length."""
    pairs = zip(browser.visited, browser.steps, strict=True)
    request = next(url for url, step in pairs if step.at == "provider")
    query = {name: values[0] for name, values in parse_qs(urlsplit(request).query).items()}
    return {
        "responseType": query.get("response_type"),
        "codeChallengeMethod": query.get("code_challenge_method"),
        "codeChallengeLength": len(query.get("code_challenge", "")),
        "stateLength": len(query.get("state", "")),
        "nonceLength": len(query.get("nonce", "")),
    }


def refuse_error(page: Page) -> None:
    """Raise the error with which the provider leads back to the callback."""
    errors = parse_qs(urlsplit(page.location or "").query).get("error")
    if errors:
        raise LoginError(f"the provider refused: {errors[0][:64]}", where=path_of(page.url))


def _is_callback(page: Page, addresses: Addresses) -> bool:
    return page.location is not None and page.location.startswith(addresses.public + CALLBACK)


def _login_token(page: Page) -> str:
    """From the page that asks whether to go on, or from the redirect where it does not ask."""
    for url in _ways_on(page):
        tokens = parse_qs(urlsplit(url).query).get("loginToken")
        if url.startswith(_RETURN) and tokens:
            return tokens[0]
    raise LoginError(
        f"the homeserver gave no login token: {page.status} {error_code(page) or ''}".strip(),
        where=CALLBACK,
    )


def _ways_on(page: Page) -> Iterator[str]:
    if page.location is not None:
        yield page.location
    yield from links(page)


def read_object(page: Page, status: int) -> dict[str, Any]:
    """Read an answer of this status as a JSON object.

    Raises:
        LoginError: it is another.
    """
    where = urlsplit(page.url).path
    if page.status != status:
        raise LoginError(f"answered {page.status}", where=where)
    try:
        found = json.loads(page.body)
    except ValueError:
        raise LoginError("is no JSON", where=where) from None
    if not isinstance(found, dict):
        raise LoginError("is no JSON object", where=where)
    return found
