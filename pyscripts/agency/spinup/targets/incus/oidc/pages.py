"""Parts of a page: the form to fill in, the form to agree with, links, and Synapse's refusal."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from bs4 import BeautifulSoup, Tag

from agency.spinup.targets.incus.oidc.browser import Page

_POSTED = "form[method=post i]"
_SECRET = "input[type=password i]"  # noqa: S105 - a selector
_NAME = "input[type=text i], input[type=email i], input:not([type])"
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")


def login_form(page: Page) -> Tag | None:
    """Find the form that asks for a password."""
    return _soup(page).select_one(f"{_POSTED}:has({_SECRET})")


def consent_form(page: Page) -> Tag | None:
    """Find the form that only asks whether to go on."""
    return _soup(page).select_one(f"{_POSTED}:not(:has({_SECRET}))")


def fill_in(form: Tag, account: str, password: str) -> bool:
    """Fill in a log-in form; returns if it has a field for the name."""
    name, secret = form.select_one(_NAME), form.select_one(_SECRET)
    if name is None or secret is None:
        return False
    name["value"], secret["value"] = account, password
    return True


def links(page: Page) -> list[str]:
    """List the links of a page as absolute URLs."""
    return [urljoin(page.url, str(link["href"])) for link in _soup(page).select("a[href]")]


def error_code(page: Page) -> str | None:
    """Read the reason on Synapse's page for a refused log-in."""
    texts = [part.get_text(strip=True) for part in _soup(page).select("#error_code p")]
    return next((text for text in texts if _ERROR_CODE.fullmatch(text)), None)


def _soup(page: Page) -> BeautifulSoup:
    return BeautifulSoup(page.body, "lxml")
