"""Tests from the template: each fails until a person has filled it in, and is found as unfilled."""

import http.server
import threading

import pytest

from agency.recipes.client import Route
from agency.recipes.enrol.findings import Findings, FoundService
from agency.recipes.enrol.findings import Route as Found
from agency.recipes.enrol.suites import look
from agency.recipes.enrol.template import test_files as template_files
from agency.recipes.journal import Censor, Journal
from agency.recipes.outcome import Outcome
from agency.recipes.stages.readiness import read_readiness
from agency.recipes.stages.suites import SuiteError, SuiteRunner

SUITES = ("install", "write", "keep", "change")


def findings(secrets=("db_password",), check="curl http://localhost:80/live", backup=True):
    app = FoundService("app", "x:1", check, backup, (), secrets, (Found(("a.b",), 80, False),))
    return Findings("pads", (app,), ("data",), (), secrets, ("1.0.0+1",), ())


def written(place, **values):
    for name, text in template_files(findings(**values)).items():
        (place / name).write_text(text)
    return place


@pytest.fixture
def answers_all(tmp_path):
    """Run suites against an app that answers everything well: a lazy test would pass."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>Pads of the co-op</h1>")

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    private = tmp_path / "private"
    private.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        route = Route("http", "127.0.0.1", server.server_port)
        runner = SuiteRunner("r00000000", "a.b", route, private, {}, 60.0)

        def run(place, suite):
            with Journal(tmp_path / "log", Censor()) as journal:
                return runner.run_files(place, [f"test_{suite}.py"], {}, journal)

        yield run
        server.shutdown()


@pytest.mark.parametrize(
    ("suite", "secrets"), [*((suite, ("db_password",)) for suite in SUITES), ("install", ())]
)
def test_every_test_of_the_template_fails_and_says_what_to_fill_in(
    tmp_path, answers_all, suite, secrets
):
    place = written(tmp_path, secrets=secrets)
    with pytest.raises(SuiteError, match=r"fill in") as caught:
        answers_all(place, suite)
    assert {one.outcome for one in caught.value.tests} == {Outcome.FAIL}


def test_one_that_is_filled_in_passes(tmp_path, answers_all):
    place = written(tmp_path, secrets=())
    install = place / "test_install.py"
    install.write_text(install.read_text().replace('OWN_TEXT = ""', 'OWN_TEXT = "Pads of"'))
    assert [one.outcome for one in answers_all(place, "install")] == [Outcome.PASS]
    install.write_text(install.read_text().replace("Pads of", "Another"))
    with pytest.raises(SuiteError, match="Another"):
        answers_all(place, "install")


def test_a_look_names_every_place_that_is_to_be_filled_in(tmp_path):
    seen = look(written(tmp_path))
    assert (seen.there, seen.problems) == (SUITES, ())
    assert len(seen.to_fill_in) == 5
    install = tmp_path / "test_install.py"
    filled = install.read_text().replace('OWN_TEXT = ""', 'OWN_TEXT = "Pads"')
    install.write_text(filled[: filled.index("def test_a_stranger")])
    left = look(tmp_path).to_fill_in
    assert not any("test_install" in one for one in left)
    assert len(left) == 3
    assert all(":" in one for one in left)


def test_the_readiness_asks_as_the_health_check_does(tmp_path):
    wanted = read_readiness(written(tmp_path))
    assert (wanted.path, wanted.status) == ("/live", (200,))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("test_install.py", "def test_x(:\n", "test_install.py:1: no Python"),
        ("test_install.py", "import pytest\n", "there is no test in it"),
        ("test_more.py", "x = 1\n", "test_more.py: there is no test in it"),
        ("readiness.yaml", "pfad: /\n", "pfad"),
        ("test_install.py", "x\0\n", "no Python"),
    ],
)
def test_what_cannot_run_is_told(tmp_path, name, text, problem):
    (tmp_path / "test_install.py").write_text("def test_x(app):\n    assert app.get('/')\n")
    assert look(tmp_path).problems == ()
    (tmp_path / name).write_text(text)
    assert [problem in one for one in look(tmp_path).problems] == [True]


def test_a_directory_that_is_not_there_or_a_link_is_told(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for place in (tmp_path / "none", tmp_path / "link"):
        assert "no such directory" in look(place).problems[0]
