import re
from html import unescape
from urllib.parse import urlencode, urlsplit

import pytest

MEMBER = "anna"


class Browser:
    """As much of a browser as a log-in takes: cookies, redirects and forms."""

    def __init__(self, app):
        self.app = app
        self.cookies = {}
        self.seen = []

    def ask(self, method, path, body=None):
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies, "X-Forwarded-Proto": "https"}
        if body is not None:
            kind = "application/x-www-form-urlencoded"
            headers |= {"Content-Type": kind, "Referer": f"https://{self.app.domain}/"}
        answer = self.app.request(method, path, body=body, headers=headers)
        told = answer.headers.get("Set-Cookie", "")
        for name, value in re.findall(r"(?:^|, )([A-Za-z0-9_]+)=([^;,]*)", told):
            self.cookies[name] = value
        return answer

    def open(self, method, path, body=None):
        for _ in range(15):
            answer = self.ask(method, path, body)
            self.seen.append(path)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            place = urlsplit(answer.headers["Location"])
            assert place.hostname in (None, self.app.domain), answer.headers["Location"]
            path = (place.path or "/") + (f"?{place.query}" if place.query else "")
            method, body = "GET", None
        raise AssertionError(f"redirected for ever: {self.seen[-3:]}")

    def submit(self, page, **values):
        """Send the page's form, with its hidden fields."""
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
        fields = {unescape(name): unescape(value) for name, value in hidden}
        return self.open("POST", self.seen[-1], urlencode({**fields, **values}))


@pytest.fixture
def stranger(app):
    """Somebody who has not logged in."""
    return Browser(app)


@pytest.fixture
def log_in(app, app_secrets):
    """Log in as the member, by the provider's pages; return the browser and the page at the end."""

    def log_in(password=None):
        browser = Browser(app)
        asked = browser.open("GET", "/wiki/")
        named = browser.submit(asked, login=MEMBER)
        return browser, browser.submit(named, password=password or app_secrets["member_password"])

    return log_in
