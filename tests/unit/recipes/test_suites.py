"""Suites in a real pytest child, against a real HTTP server."""

import http.server
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError, UsageError
from agency.recipes.client import AppClient, Route, parse_route
from agency.recipes.headers import Headers
from agency.recipes.journal import Censor, Journal
from agency.recipes.outcome import Outcome
from agency.recipes.stages.cgroup import DEFAULT_LIMITS, Limits, hierarchies
from agency.recipes.stages.readiness import NotReadyError, Readiness, read_readiness, wait_ready
from agency.recipes.stages.screenshots import Album
from agency.recipes.stages.suites import SuiteError, SuitePrerequisiteError, SuiteRunner
from agency.secrets import SecretValue


@contextmanager
def served(*answers):
    """Serve the answers in their order, the last one for ever; yield the hosts that were asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Host"])
            status, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Route("http", "127.0.0.1", server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


class Steps:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds


def ready(route, steps, **wanted):
    clock = Clock(steady=lambda: steps.now)
    wait_ready(Readiness(**wanted), AppClient("a.test", route), clock, steps.sleep)


def test_an_app_is_ready_when_it_answers_twice_by_its_name():
    with served((503, b""), (200, b"hello"), (502, b""), (200, b"hello")) as (route, asked):
        ready(route, Steps(), contains="hello")
        assert asked == ["a.test"] * 5


@pytest.mark.parametrize(
    ("answer", "reason"), [((503, b""), "status 503"), ((404, b""), "404"), ((200, b"no"), "'yes'")]
)
def test_an_app_that_does_not_serve_is_not_ready(answer, reason):
    with served(answer) as (route, _), pytest.raises(NotReadyError, match=reason):
        ready(route, Steps(), contains="yes", within_s=3)


def test_headers_are_found_in_any_case_as_proxies_change_it():
    with served((200, b"")) as (route, _):
        answer = AppClient("a.test", route).get("/")
    assert answer.headers["SERVER"] == answer.headers["server"] != ""
    assert "Date" in answer.headers
    assert "date" in answer.headers
    both = Headers([("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X", "y")])
    assert (both["SET-COOKIE"], len(both), list(both)) == ("a=1, b=2", 2, ["set-cookie", "X"])
    with pytest.raises(KeyError):
        both["none"]


def test_nothing_that_listens_is_not_ready():
    with served((200, b"")) as (route, _):
        pass
    with pytest.raises(NotReadyError, match="no answer"):
        ready(route, Steps(), within_s=2)


def test_a_demand_is_read_and_a_wrong_one_named(tmp_path):
    assert read_readiness(None) == read_readiness(tmp_path) == Readiness()
    (tmp_path / "readiness.yaml").write_text("path: /x\nstatus: [204]\n")
    assert read_readiness(tmp_path) == Readiness(path="/x", status=(204,))
    for text in ("path: x\n", "stauts: [200]\n", "within_s: 0\n", "- a\n"):
        (tmp_path / "readiness.yaml").write_text(text)
        with pytest.raises(BadInputError, match=r"readiness\.yaml"):
            read_readiness(tmp_path)


@pytest.mark.parametrize("url", ["ftp://x", "https://", "https://x/path", "x", "http://x:99999"])
def test_a_proxy_is_an_address(url):
    with pytest.raises(UsageError):
        parse_route(url, None)


def test_an_authority_that_cannot_be_read_is_told_before_anything_is_deployed(tmp_path):
    place = tmp_path / "ca.pem"
    with pytest.raises(PrerequisiteError, match="no certificate can be read: No such file"):
        parse_route("https://x", place)
    place.write_text("no certificate")
    with pytest.raises(PrerequisiteError, match="no certificate can be read") as caught:
        parse_route("https://x", place)
    assert (caught.value.where, "authority" in caught.value.hint) == (str(place), True)


def test_a_proxy_has_a_port():
    assert parse_route("https://127.0.0.1", None).port == 443
    assert parse_route("http://h:81", None) == Route("http", "h", 81)


GOOD = """
def test_app(app, app_secrets, run_marker):
    assert app.get("/").text == "hello"
    assert app_secrets == {"password": "hunter22hunter22"}
    assert run_marker == "written by r00000000"

def test_nothing_else_is_given():
    import os
    assert not any("DOCKER" in name or "TOKEN" in name for name in os.environ)
"""


def run(tmp_path, text, *, timeout_s=60.0, route=None, limits=DEFAULT_LIMITS, tests=None):
    tests, private = tests or tmp_path / "tests", tmp_path / "private"
    tests.mkdir()
    private.mkdir()
    (tmp_path / "artifacts").mkdir()
    (tests / "test_it.py").write_text(text)
    runner = SuiteRunner(
        "r00000000",
        "a.test",
        route or Route("http", "127.0.0.1", 1),
        private,
        {},
        timeout_s,
        Album(tmp_path / "artifacts"),
        limits,
    )
    censor = Censor()
    censor.add([SecretValue("hunter22hunter22")])
    with Journal(tmp_path / "log", censor) as journal:
        try:
            return runner.run_files(
                tests, ["test_it.py"], {"password": "hunter22hunter22"}, journal
            )
        finally:
            assert not [p for p in private.iterdir() if p.name != "home"]


def test_tests_reach_the_app_and_its_secrets_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///secret")
    monkeypatch.setenv("FORGE_TOKEN", "x")
    with served((200, b"hello")) as (route, _):
        found = run(tmp_path, GOOD, route=route)
    assert [one.outcome for one in found] == [Outcome.PASS] * 2


def test_tests_have_their_files_name_where_the_state_lies_behind_a_link(tmp_path):
    """As systemd lays it, for a unit with a dynamic user: /var/lib/private."""
    (tmp_path / "of-the-unit").mkdir()
    (tmp_path / "state").symlink_to("of-the-unit")
    (found,) = run(tmp_path, "def test_a():\n    pass\n", tests=tmp_path / "state" / "tests")
    assert found.name == "test_it.py::test_a"


FORGED = """
import json, os
open(json.load(open(os.environ["AGENCY_RECIPE_APP"]))["results"], "w").write("{}")
os._exit(0)
"""
BAD = {
    "a failed test": ("def test_a():\n    assert 1 == 2\n", "assert 1 == 2"),
    "an error of a fixture": ("def test_a(nothing):\n    pass\n", "fixture 'nothing'"),
    "no syntax": ("def test_a(:\n", "exit status 2"),
    "no test": ("x = 1\n", "no test"),
    "all skipped": ("import pytest\ndef test_a():\n    pytest.skip('later')\n", "skipped"),
    "an early end": ("import os\ndef test_a():\n    os._exit(0)\n", "nothing was shown"),
    "forged results": (FORGED, "not those of the plugin"),
    "a secret in the reason": (
        "def test_a(app_secrets):\n    assert app_secrets['password'] == 'x'\n", r"\[\*\*\*\]"
    ),
}  # fmt: skip


ALWAYS = ("a failed test", "forged results")


@pytest.mark.parametrize(
    "kind",
    [*ALWAYS, *(pytest.param(k, marks=pytest.mark.thorough) for k in BAD if k not in ALWAYS)],
)
def test_a_suite_is_green_only_if_a_test_passed_and_none_failed(tmp_path, kind):
    text, reason = BAD[kind]
    with pytest.raises(SuiteError, match=reason) as caught:
        run(tmp_path, text)
    assert "hunter22" not in str(caught.value) + (tmp_path / "log").read_text()


def test_a_suite_that_hangs_is_ended_and_its_children_too(tmp_path):
    text = (
        "import subprocess, time\ndef test_a():\n"
        f"    subprocess.Popen(['sh', '-c', 'sleep 4; touch {tmp_path}/late'])\n"
        "    time.sleep(60)\n"
    )
    with pytest.raises(SuiteError, match="no end after 3 s"):
        run(tmp_path, text, timeout_s=3.0)
    threading.Event().wait(2.0)
    assert not (tmp_path / "late").exists()


FORKS = """
import os, time
def test_a():
    while True:
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not hierarchies(), reason="no control group here")
def test_a_suite_that_forks_without_end_is_red_with_the_reason(tmp_path):
    began = time.monotonic()
    with pytest.raises(SuiteError, match="more than 60 processes and threads"):
        run(tmp_path, FORKS, limits=Limits(tasks=60))
    assert time.monotonic() - began < 30
    assert not [
        place
        for place in Path("/proc").glob("[0-9]*/cmdline")
        if str(tmp_path).encode() in place.read_bytes()
    ]


PICTURES = """
import json, os
from pathlib import Path
def place():
    return json.loads(Path(os.environ["AGENCY_RECIPE_APP"]).read_text())
def row(name, file):
    row = {{"name": name, "outcome": "pass", "seconds": 0, "reason": "", "screenshot": file}}
    with open(place()["results"], "a") as sink:
        sink.write(json.dumps(row) + "\\n")
def test_a():
    pictures = Path(place()["pictures"])
    (pictures / "1.png").write_bytes({first!r})
    (pictures / "2.png").symlink_to("/etc/passwd")
    (pictures / "3.png").write_text("hunter22hunter22")
    (pictures / "4.png").write_bytes({first!r} + bytes(3 << 20))
    os.mkfifo(pictures / "5.png")
    for number in range(1, 7):
        row(f"test_it.py::test_{{number}}[a/../b hunter22hunter22]", f"{{number}}.png")
"""
PNG = b"\x89PNG\r\n\x1a\n a picture"


def test_only_pictures_of_a_bounded_size_become_screenshots(tmp_path):
    found = run(tmp_path, PICTURES.format(first=PNG))
    assert [one.screenshot for one in found] == [
        *("screenshots/01-log-test-1-a-b.png", "", "", "", "", ""), ""
    ]  # fmt: skip
    (kept,) = (tmp_path / "artifacts" / "screenshots").iterdir()
    assert kept.read_bytes() == PNG
    assert "no screenshot of test_it.py::test_2" in (tmp_path / "log").read_text()
    assert "hunter22" not in (tmp_path / "log").read_text() + str(found)


def test_a_name_of_a_picture_that_leads_elsewhere_is_refused(tmp_path):
    text = PICTURES.format(first=PNG).replace('f"{number}.png"', '"../1.png"')
    with pytest.raises(SuiteError, match="not those of the plugin"):
        run(tmp_path, text)


def test_there_are_at_most_so_many_screenshots(tmp_path, monkeypatch):
    monkeypatch.setattr("agency.recipes.stages.screenshots.MAX_FILES", 2)
    source = tmp_path / "x.png"
    source.write_bytes(PNG)
    album = Album(tmp_path)
    taken = [album.take(source, "install", f"t.py::test_{n}")[0] for n in range(4)]
    assert taken[2:] == ["", ""]
    assert len(set(taken[:2])) == len(list((tmp_path / "screenshots").iterdir())) == 2


def test_a_browser_that_is_missing_is_no_fault_of_the_recipe(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "prlimit").symlink_to("/usr/bin/prlimit")
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(SuitePrerequisiteError) as caught:
        run(tmp_path, "def test_a(page):\n    pass\ndef test_b():\n    pass\n")
    assert "Playwright is not installed" in str(caught.value) or "no Chromium" in str(caught.value)
    assert "\n" not in caught.value.message
    assert [one.outcome for one in caught.value.tests] == [Outcome.ERROR, Outcome.PASS]
