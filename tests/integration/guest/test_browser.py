"""The browser of `edge.login`, a real Chromium: it trusts one authority, and has no other way."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agency.chromium import find_browser
from agency.spinup.targets.incus.parts.edge.browser import (
    Browser,
    BrowserError,
    Route,
    browsing,
)
from agency.spinup.targets.incus.parts.edge.certificate import (
    VALID,
    Certificates,
    make_certificates,
)

DOMAIN = "agency.example"
PAGE = f"https://element.{DOMAIN}/"
HTML = b"<title>a page</title><input name=user value=old><p id=said>idle</p>"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(HTML)))
        self.end_headers()
        self.wfile.write(HTML)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep quiet."""


Serve = Callable[[Certificates], int]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve the page over TLS; returns the port."""
    servers = []

    def start(certificates: Certificates) -> int:
        for name, text in (("chain", certificates.chain), ("key", certificates.key)):
            (tmp_path / name).write_text(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def now(ago: timedelta = timedelta()) -> datetime:
    return datetime.now(UTC) - ago


async def test_it_opens_a_page_of_the_authority_and_types_into_it(
    serve: Serve, tmp_path: Path
) -> None:
    certificates = make_certificates(DOMAIN, now())
    route = Route(DOMAIN, serve(certificates), certificates.authority)
    async with browsing(route, tmp_path / "home") as browser:
        await browser.open(PAGE)
        assert await browser.evaluate("document.title") == "a page"
        await browser.fill("[name=user]", 'o\'neill "x"')
        typed = await browser.evaluate("document.querySelector('[name=user]').value")
        (page,) = [answer for answer in browser.answers if answer["url"] == PAGE]
    assert typed == 'o\'neill "x"'
    assert page["security"]["subjectName"] == DOMAIN
    assert "Chrom" in browser.product
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("trusted", "ago", "error"),
    [
        (False, timedelta(), "ERR_CERT_AUTHORITY_INVALID"),
        (True, VALID + timedelta(minutes=1), "ERR_CERT_DATE_INVALID"),
    ],
    ids=["foreign", "expired"],
)
async def test_it_refuses_a_certificate(
    trusted: bool, ago: timedelta, error: str, serve: Serve, tmp_path: Path
) -> None:
    served = make_certificates(DOMAIN, now(ago))
    authority = served if trusted else make_certificates(DOMAIN, now())
    route = Route(DOMAIN, serve(served), authority.authority)
    async with browsing(route, tmp_path / "home") as browser:
        with pytest.raises(BrowserError, match=error):
            await browser.open(PAGE)


async def test_it_knows_no_other_name(serve: Serve, tmp_path: Path) -> None:
    certificates = make_certificates(DOMAIN, now())
    port = serve(certificates)
    async with browsing(Route(DOMAIN, port, certificates.authority), tmp_path / "home") as browser:
        for url in ("https://elsewhere.example/", f"https://other.{DOMAIN}/"):
            with pytest.raises(BrowserError, match="ERR_NAME_NOT_RESOLVED"):
                await browser.open(url)


async def test_nothing_of_it_is_left_after_an_error(serve: Serve, tmp_path: Path) -> None:
    certificates = make_certificates(DOMAIN, now())
    route = Route(DOMAIN, serve(certificates), certificates.authority)
    held: list[Browser] = []

    async def browse() -> None:
        async with browsing(route, tmp_path / "home") as browser:
            held.append(browser)
            assert processes_that_name(tmp_path), "the control"
            await browser.evaluate("nothing.of.that.name")

    with pytest.raises(BrowserError, match="raised an error"):
        await browse()
    assert not (tmp_path / "home").exists()
    assert processes_that_name(tmp_path) == []
    with pytest.raises(BrowserError, match="has ended"):
        await held[0].evaluate("1")


def processes_that_name(place: Path) -> list[str]:
    """The processes whose arguments name a place; one that ends meanwhile is none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(place).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


def test_it_is_installed() -> None:
    assert find_browser()
