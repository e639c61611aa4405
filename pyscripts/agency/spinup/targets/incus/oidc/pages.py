"""What there is to fill in and to follow on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

from agency.spinup.targets.incus.oidc.browser import Page

_ERROR_CODE = re.compile(r'id="error_code".*?<p>\s*([a-z_]{1,64})\s*</p>', re.DOTALL)
_NAME_FIELDS = ("text", "email")


@dataclass(slots=True)
class Form:
    """A form: where it goes, its fields with their values, and which are to be filled in."""

    action: str
    values: dict[str, str] = field(default_factory=dict)
    name_field: str | None = None
    password_field: str | None = None


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a" and found.get("href"):
            self.links.append(urljoin(self.url, found["href"]))
        elif tag == "form":
            self._open = found.get("method", "").lower() == "post"
            if self._open:
                self.forms.append(Form(urljoin(self.url, found.get("action", ""))))
        elif tag == "input" and self._open and found.get("name"):
            self._field(self.forms[-1], found["name"], found)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False

    @staticmethod
    def _field(form: Form, name: str, found: dict[str, str]) -> None:
        kind = found.get("type", "text").lower()
        if kind == "password":
            form.password_field = name
        elif kind in _NAME_FIELDS:
            form.name_field = form.name_field or name
        elif kind == "hidden":
            form.values[name] = found.get("value", "")


def forms(page: Page) -> Iterator[Form]:
    """The forms of a page that are posted."""
    reader = _Reader(page.url)
    reader.feed(page.body)
    yield from reader.forms


def links(page: Page) -> Iterator[str]:
    """Where a page leads, as absolute URLs."""
    reader = _Reader(page.url)
    reader.feed(page.body)
    yield from reader.links


def error_code(page: Page) -> str | None:
    """What Synapse's page for a refused log-in gives as the reason."""
    found = _ERROR_CODE.search(page.body)
    return found[1] if found else None
