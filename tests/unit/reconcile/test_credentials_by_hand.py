"""A reconciler that root runs by hand finds the credentials that systemd would hand over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agency.cli import cli
from agency.errors import PrerequisiteError
from agency.secrets import DIRECTORY_VARIABLE, credentials, read_credential


def _listed(tmp_path: Path, **secrets: str) -> Path:
    """Settings of a reconciler whose credentials lie somewhere else; the list is beside it."""
    store = tmp_path / "store"
    store.mkdir()
    for name, value in secrets.items():
        (store / name).write_text(value)
    settings = tmp_path / "one.json"
    files = {name: str(store / name) for name in secrets}
    settings.with_name("one.credentials.json").write_text(json.dumps(files))
    return settings


def test_they_are_read_from_where_they_are(tmp_path: Path) -> None:
    settings = _listed(tmp_path, token="first")
    environ: dict[str, str] = {}
    with credentials(settings, environ):
        directory = Path(environ[DIRECTORY_VARIABLE])
        assert read_credential("token", environ).reveal() == "first"
        assert (directory / "token").is_symlink()
        assert directory.stat().st_mode & 0o777 == 0o700
    assert environ == {}
    assert not directory.exists()


def test_those_of_systemd_come_first(tmp_path: Path) -> None:
    settings = _listed(tmp_path, token="first")
    environ = {DIRECTORY_VARIABLE: "/run/credentials/unit"}
    with credentials(settings, environ):
        assert environ == {DIRECTORY_VARIABLE: "/run/credentials/unit"}


def test_without_a_list_there_are_none(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    with credentials(tmp_path / "one.json", environ):
        assert environ == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"token": 3}'])
def test_a_broken_list_is_refused(tmp_path: Path, text: str) -> None:
    settings = _listed(tmp_path)
    settings.with_name("one.credentials.json").write_text(text)
    with pytest.raises(PrerequisiteError, match="list of credentials"), credentials(settings, {}):
        raise AssertionError("not reached")


def test_the_command_of_the_install_guide_gets_past_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    settings = _listed(tmp_path, **{"gitlab-admin-token": "first"})
    settings.write_text(
        json.dumps(
            {
                # Nothing listens on port 1.
                "url": "http://127.0.0.1:1",
                "issuedDir": str(tmp_path / "issued"),
                "group": {"path": "acme", "name": "acme"},
                "bot": {"username": "bot", "name": "Bot", "email": "bot@example.org"},
                "applications": [],
                "runners": [],
                "readyTimeoutS": 0,
            }
        )
    )
    argv = ["reconcile", "gitlab-bootstrap", "--check", "--config", str(settings), "--timeout", "5"]
    result = CliRunner().invoke(cli, argv)
    assert result.exit_code != 0
    assert "CREDENTIALS_DIRECTORY" not in str(result.exception)
    assert "127.0.0.1:1" in str(result.exception)
