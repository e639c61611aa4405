"""`agency agent proxy`: what keeps it from starting, with the exit status and the words."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from proxied import HELD, PROVIDER_KEY, settings

from agency.cli import cli
from agency.commandline import run

Ran = Callable[..., tuple[int, str]]


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "provider-key").write_text(PROVIDER_KEY)
    (tmp_path / "held").write_text(HELD)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def ran(tmp_path: Path, credentials: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    """Runs the command over settings; returns its status and all that it said."""

    def ran(*options: str, url: str = "https://api.example.org", **more: object) -> tuple[int, str]:
        path = tmp_path / "proxy.json"
        path.write_text(json.dumps({**settings(url, tmp_path / "ledger.db"), **more}))
        code = run(cli, ["agent", "proxy", "--config", str(path), *options], prog_name="agency")
        out, err = capsys.readouterr()
        return code, out + err

    return ran


def test_a_whole_configuration_is_valid(ran):
    code, said = ran("--check", "--json")
    assert (code, json.loads(said)) == (0, {"ok": True, "agents": 2, "models": 2})
    assert "is valid" in ran("--check")[1]


def test_a_key_that_is_missing_or_no_key(ran, credentials):
    (credentials / "provider-key").write_text("two words")
    code, said = ran("--check")
    assert (code, "provider-key" in said, "two words" in said) == (3, True, False)
    (credentials / "provider-key").unlink()
    for options in ((), ("--check",)):
        code, said = ran(*options)
        assert (code, "provider-key" in said) == (3, True)


def test_a_wrong_configuration_names_the_field(ran):
    code, said = ran(url="http://api.example.org")
    assert (code, "providers.one.url" in said, "must be https" in said) == (1, True, True)
    code, said = ran(database="ledger.db")
    assert (code, "absolute path" in said) == (1, True)
    code, said = ran(database="/nowhere/at/all/ledger.db")
    assert (code, "/nowhere/at/all" in said) == (3, True)


def test_a_port_that_is_taken(ran):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = ran(port=taken.getsockname()[1])
        assert (code, "taken" in said) == (3, True)


def test_another_file_in_the_place_of_the_socket_stays(ran, tmp_path):
    (tmp_path / "notes").write_text("mine")
    code, said = ran(port=None, socket=str(tmp_path / "notes"))
    assert (code, "no socket" in said) == (3, True)
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_value_too_short_to_be_redacted_is_named(ran, credentials):
    (credentials / "held").write_text("abc")
    code, said = ran("--check")
    assert (code, "held" in said, "6 characters" in said) == (3, True, True)
