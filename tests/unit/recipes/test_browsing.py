"""Browser of a recipe's tests: a real Chromium, by Playwright, in a suite's own child process."""

import os
import shutil
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import pytest
from recipe_certificates import authority

from agency.chromium import BROWSERS
from agency.recipes.client import Route
from agency.recipes.journal import Censor, Journal
from agency.recipes.outcome import Outcome
from agency.recipes.stages.screenshots import Album
from agency.recipes.stages.suites import SuiteError, SuitePrerequisiteError, SuiteRunner
from agency.secrets import SecretValue

OURS = authority("ours")
DOMAIN = "app.ci.test"
SECRET = "hunter22hunter22"
PAGE = f"""<title>a page</title><h1 id=said>hello</h1><script>
console.error("the password is {SECRET}");
fetch("https://elsewhere.test/x").catch(() => undefined);
setTimeout(() => nowhere(), 1);
</script>"""


@pytest.fixture(autouse=True)
def _installed():
    lacking = find_spec("playwright") is None or not any(map(shutil.which, BROWSERS))
    if lacking and not os.environ.get("AGENCY_REQUIRE_DOCKER"):
        pytest.skip("Playwright or a Chromium is not installed: python3 tools/setup.py recipes")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_):
        pass


@contextmanager
def served(place, issuer=OURS):
    issued = issuer.issue(f"*.{DOMAIN.partition('.')[2]}")
    (place / "served.pem").write_text(issued.chain + issued.key_pem)
    (place / "ca.pem").write_text(OURS.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "served.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Route("https", "127.0.0.1", server.server_port, place / "ca.pem")
        finally:
            server.shutdown()
            thread.join()


def run(place, route, text):
    for name in ("tests", "private", "artifacts"):
        (place / name).mkdir()
    (place / "tests" / "test_it.py").write_text(text)
    runner = SuiteRunner(
        "r00000000", DOMAIN, route, place / "private", {}, 60.0, Album(place / "artifacts")
    )
    censor = Censor()
    censor.add([SecretValue(SECRET)])
    with Journal(place / "log", censor) as journal:
        return runner.run_files(place / "tests", ["test_it.py"], {}, journal)


GOOD = """
import pytest

def test_page(page):
    with page.expect_event("pageerror"):
        page.goto("/")
    assert page.inner_text("#said") == "hello"
    assert page.url == "https://app.ci.test/"

def test_each_page_is_fresh(page):
    assert page.url == "about:blank"

def test_no_other_name_is_found(page):
    for name in ("example.org", "localhost", "ci.test"):
        with pytest.raises(Exception, match="ERR_NAME_NOT_RESOLVED"):
            page.goto(f"https://{name}/")
"""


def test_a_page_is_opened_by_the_apps_name_alone_and_what_it_says_is_logged(tmp_path):
    with served(tmp_path) as route:
        found = run(tmp_path, route, GOOD)
    assert [one.outcome for one in found] == [Outcome.PASS] * 3
    log = (tmp_path / "log").read_text()
    assert "console: the password is [***]" in log
    assert SECRET not in log
    assert "request failed: GET https://elsewhere.test/x: net::ERR_NAME_NOT_RESOLVED" in log
    assert "error in the page: nowhere is not defined" in log
    assert [one.screenshot for one in found] == [
        f"screenshots/0{n}-log-{title}.png"
        for n, title in enumerate(
            ("test-page", "test-each-page-is-fresh", "test-no-other-name-is-found"), start=1
        )
    ]
    assert list((tmp_path / "private").iterdir()) == [tmp_path / "private" / "home"]
    assert list((tmp_path / "private" / "home").glob("browser-*")) == []


def test_of_a_test_that_failed_there_is_a_screenshot(tmp_path):
    text = "def test_a(page):\n    page.goto('/')\n    assert page.title() == 'another'\n"
    with served(tmp_path) as route, pytest.raises(SuiteError, match="another") as caught:
        run(tmp_path, route, text)
    (test,) = caught.value.tests
    assert (tmp_path / "artifacts" / test.screenshot).stat().st_size > 1000


def test_a_certificate_of_another_authority_is_red_before_a_page_opens(tmp_path):
    text = "def test_a(page):\n    page.goto('/')\n"
    refused = pytest.raises(SuiteError, match="its certificate is refused")
    with served(tmp_path, authority("other")) as route, refused:
        run(tmp_path, route, text)


def test_a_chromium_that_does_not_start_is_no_fault_of_the_recipe(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    broken = programs / BROWSERS[0]
    broken.write_text("#!/bin/sh\necho 'no sandbox for you' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(SuitePrerequisiteError) as caught, served(tmp_path) as route:
        run(tmp_path, route, "def test_a(page):\n    pass\n")
    assert "Chromium does not start: no sandbox for you" in caught.value.message
    assert [one.outcome for one in caught.value.tests] == [Outcome.ERROR]


SWITCHED = """
from agency.recipes import browsing

browsing.AppClient.certificate = lambda self: None

def test_a(page):
    page.goto("/")
"""


def test_chromium_itself_refuses_it_too(tmp_path):
    refused = pytest.raises(SuiteError, match="ERR_CERT_AUTHORITY_INVALID")
    with served(tmp_path, authority("other")) as route, refused:
        run(tmp_path, route, SWITCHED)
