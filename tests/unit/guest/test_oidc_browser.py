"""The browser of the log-in: where it goes, what it keeps, and what it never says."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

import pytest

from agency.errors import BadInputError
from agency.spinup.targets.incus.oidc import login
from agency.spinup.targets.incus.oidc.browser import (
    MAX_PAGE,
    MAX_REDIRECTS,
    MAX_REQUESTS,
    Addresses,
    Browser,
    LoginError,
    Page,
    path_of,
)
from agency.spinup.targets.incus.oidc.pages import (
    consent_form,
    error_code,
    fill_in,
    login_form,
)
from agency.spinup.targets.incus.oidc.provider import RunningProvider, read_wiring, unit_argv
from agency.spinup.targets.incus.oidc.request import CALLBACK

ROOT = Path(__file__).resolve().parents[3]
PUBLIC = "https://matrix.agency.example"
SECRET = "the-password-of-this-run"


class Faulty(BaseHTTPRequestHandler):
    """A server that does what no real one should, or says what it was sent."""

    def log_message(self, *args: object) -> None:
        """Tests stay quiet."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/loop":
            self._answer(302, {"Location": "/loop"})
        elif url.path == "/to":
            self._answer(302, {"Location": parse_qs(url.query)["url"][0]})
        elif url.path == "/large":
            self._answer(200, {}, b"x" * (MAX_PAGE + 1))
        elif url.path == "/cookie":
            self._answer(200, {"Set-Cookie": "kept=1; Path=/; Secure; HttpOnly; SameSite=None"})
        else:
            seen = {name.lower(): value for name, value in self.headers.items()}
            self._answer(200, {}, json.dumps(seen).encode())

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(200, {}, json.dumps({"path": self.path, "form": form}).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def loopback() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def browser(loopback: str) -> Browser:
    return Browser(Addresses(PUBLIC, loopback, loopback))


def test_the_homeserver_is_told_what_the_edge_tells_it(browser: Browser) -> None:
    seen = json.loads(browser.get(f"{PUBLIC}/headers").body)
    assert seen["host"] == "matrix.agency.example"
    assert seen["x-forwarded-proto"] == "https"


def test_a_cookie_goes_back_to_whom_it_came_from_and_to_nobody_else(
    browser: Browser, loopback: str
) -> None:
    browser.get(f"{PUBLIC}/cookie")
    assert json.loads(browser.get(f"{PUBLIC}/headers").body)["cookie"] == "kept=1"
    assert "cookie" not in json.loads(browser.get(f"{loopback}/headers").body)
    another = Browser(browser.addresses)
    assert "cookie" not in json.loads(another.get(f"{PUBLIC}/headers").body)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://127.0.0.1:1/x",
        "https://matrix.agency.example.evil.example/x",
        "http://matrix.agency.example/x",
        "//evil.example/x",
        "file:///etc/passwd",
    ],
)
def test_it_goes_nowhere_else(browser: Browser, elsewhere: str) -> None:
    page = browser.get(f"{PUBLIC}/to?url={elsewhere}")
    with pytest.raises(LoginError, match="led elsewhere"):
        browser.follow(page)


@pytest.mark.parametrize("where", ["https://matrix.org", "http://10.0.0.1:8008", "http://[::2]"])
def test_only_loopback_is_talked_to(loopback: str, where: str) -> None:
    with pytest.raises(LoginError, match="not on loopback"):
        Addresses(PUBLIC, where, loopback)
    with pytest.raises(LoginError, match="not on loopback"):
        Addresses(PUBLIC, loopback, where)


def test_redirects_end(browser: Browser) -> None:
    with pytest.raises(LoginError, match=f"more than {MAX_REDIRECTS} redirects"):
        browser.follow(browser.get(f"{PUBLIC}/loop"))


def test_requests_end(browser: Browser) -> None:
    for _ in range(MAX_REQUESTS):
        browser.get(f"{PUBLIC}/x")
    with pytest.raises(LoginError, match=f"more than {MAX_REQUESTS} requests"):
        browser.get(f"{PUBLIC}/x")


def test_a_page_has_a_bound(browser: Browser) -> None:
    with pytest.raises(LoginError, match="bytes"):
        browser.get(f"{PUBLIC}/large")


def test_no_answer_is_told_without_what_was_asked() -> None:
    closed = "http://127.0.0.1:1"
    browser = Browser(Addresses(closed, closed, closed))
    with pytest.raises(LoginError, match="no answer: ConnectionError") as caught:
        browser.get(f"{closed}/callback?code={SECRET}")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_paths_have_no_ids_and_no_query() -> None:
    assert path_of("http://x/auth/kXq3yR2n8tV5wZ1bD4fGh?code=1#x") == "/auth/{id}"
    assert path_of("http://x/_synapse/client/oidc/callback?state=1") == CALLBACK
    sso = "/_matrix/client/v3/login/sso/redirect/oidc-throwaway"
    assert path_of(f"{PUBLIC}{sso}?redirectUrl=x") == sso


def test_a_form_is_filled_in_and_sent(browser: Browser, loopback: str) -> None:
    body = (
        '<form action="/search"><input name="q"></form>'
        '<form method="POST" action="form?a=1"><input type="hidden" name="t" value="&lt;1">'
        '<input name="who"><input type="password" name="word"><input type="checkbox" name="c">'
        '</form><input name=outside><form method="post"><button>go on</button></form>'
    )
    page = Page(f"{loopback}/interaction/x", 200, body, None)
    form, consent = login_form(page), consent_form(page)
    assert form is not None
    assert consent is not None
    assert consent.get_text() == "go on"
    assert not fill_in(consent, "me", SECRET)
    assert fill_in(form, "me", SECRET)
    sent = json.loads(browser.submit(page, form).body)
    assert sent == {"path": "/interaction/form?a=1", "form": f"t=%3C1&who=me&word={SECRET}"}


def test_a_page_without_a_form_has_none(browser: Browser) -> None:
    page = browser.get(f"{PUBLIC}/headers")
    assert login_form(page) is None
    assert consent_form(page) is None


def test_the_reason_of_a_refusal_is_read() -> None:
    body = '<div id="error_code"><p><strong>Error code</strong></p> <p>mismatching_session</p>'
    assert error_code(Page("", 400, body, None)) == "mismatching_session"
    assert error_code(Page("", 400, "<p>mismatching_session</p>", None)) is None


def test_a_wrong_request_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"password": SECRET})))
    assert login.main([]) == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert said.err


def exported() -> bytes:
    """As it is in a guest: the literal signs of the template are filled in."""
    file = ROOT / "modules" / "portable" / "instance" / "etc" / "agency" / "issued.json"
    return file.read_text().replace("{{ '{{' }}", "{{").encode()


def test_the_exported_definitions_say_where_the_provider_is() -> None:
    wiring = read_wiring(exported())
    assert wiring.issuer == "http://127.0.0.1:8026"
    assert wiring.port == 8026
    assert wiring.idp == "oidc-throwaway"
    assert wiring.client_secret.parent == PurePosixPath("/var/lib/agency/issued")


def test_a_provider_that_is_elsewhere_is_not_ours_to_start() -> None:
    other = exported().replace(b"http://127.0.0.1:8026", b"https://gitlab.agency.example")
    with pytest.raises(BadInputError, match="not one of this machine's own"):
        read_wiring(other)
    with pytest.raises(BadInputError, match="names no provider"):
        read_wiring(b'{"directory": "/run/agency-issued"}')


def test_secrets_are_in_no_argument_and_no_text() -> None:
    wiring = read_wiring(exported())
    facts = {"name": "oidc-provider", "version": "1.2.3"}
    running = RunningProvider(wiring, facts, PUBLIC, "member", "client", "word-1", "word-2")
    assert running.secret_values == ("word-1", "word-2")
    assert not re.search("word-", repr(running))
    argv = unit_argv(port=wiring.port)
    assert "--property=DynamicUser=yes" in argv
    assert "--property=SocketBindAllow=ipv4:tcp:8026" in argv
    assert argv[-3].endswith("/node")
