"""The login data of an operator."""

from __future__ import annotations

import json

import pytest

from agency.control.login import Login, default_login_file, read_login, write_login
from agency.errors import BadInputError, PrerequisiteError

TOKEN = "token-that-nobody-may-see"
GOOD = {
    "homeserver": "http://127.0.0.1:8008",
    "user_id": "@alice:agency.example",
    "access_token": TOKEN,
    "control_room": "!room:agency.example",
}


def login(**changes: str) -> Login:
    return Login.model_validate({**GOOD, **changes})


def stored(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    path.chmod(0o600)
    return path


def test_what_is_written_is_read(tmp_path):
    file = tmp_path / "new" / "login.json"
    write_login(file, login())
    assert read_login(file) == login()
    assert json.loads(file.read_text()) == {**GOOD, "bot_id": ""}
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_the_file_that_the_local_agency_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_login_file() == tmp_path / "agency" / "local" / "login.json"
    assert read_login(stored(tmp_path / "login.json", GOOD)) == login()


def test_who_answers():
    assert login().bot == "@agency:agency.example"
    assert login(user_id="@bob:other.example:8448").bot == "@agency:other.example:8448"
    assert login(bot_id="@bot:agency.example").bot == "@bot:agency.example"


def test_the_token_does_not_show_itself():
    assert TOKEN not in f"{login()} {login()!r} {login().model_dump()}"


def test_there_is_no_file(tmp_path):
    with pytest.raises(PrerequisiteError) as caught:
        read_login(tmp_path / "login.json")
    assert "agency up" in (caught.value.hint or "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_others_may_not_read_it(tmp_path, mode):
    file = stored(tmp_path / "login.json", GOOD)
    file.chmod(mode)
    with pytest.raises(PrerequisiteError, match="others may read") as caught:
        read_login(file)
    assert caught.value.hint == f"chmod 600 {file}"


def test_a_directory_is_not_login_data(tmp_path):
    with pytest.raises(PrerequisiteError, match="cannot read"):
        read_login(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "not login data"),
        ("{", "not login data"),
        ("[]", "not login data"),
        ({**GOOD, "token": "x"}, "token: "),
        ({key: value for key, value in GOOD.items() if key != "user_id"}, "user_id: "),
        ({**GOOD, "access_token": ""}, "access_token: "),
        ({**GOOD, "access_token": 7}, "access_token: "),
        ({**GOOD, "user_id": "alice"}, "user_id: "),
        ({**GOOD, "control_room": "#control:agency.example"}, "control_room: "),
        ({**GOOD, "homeserver": "127.0.0.1:8008"}, "homeserver: .*URL"),
        ({**GOOD, "homeserver": "ftp://127.0.0.1"}, "homeserver: .*URL"),
        ({**GOOD, "homeserver": "http://matrix.example"}, "homeserver: .*https"),
        ({**GOOD, "homeserver": "http://127.0.0.1.matrix.example"}, "homeserver: .*https"),
        ({**GOOD, "bot_id": "x" * 70000}, "bytes"),
    ],
)
def test_what_is_not_login_data(tmp_path, data, words):
    with pytest.raises(BadInputError, match=words) as caught:
        read_login(stored(tmp_path / "login.json", data))
    assert TOKEN not in f"{caught.value} {caught.value.as_dict()}"


@pytest.mark.parametrize(
    "url", ["https://matrix.example", "http://localhost:1", "http://[::1]:8008", "http://127.9.9.9"]
)
def test_where_a_token_may_travel(url):
    assert login(homeserver=f"{url}/").homeserver == url


def test_a_place_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="cannot be made"):
        write_login(tmp_path / "file" / "login.json", login())
