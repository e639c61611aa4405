"""`agency accounts reset` against a real Synapse: who gets a new password, and what is left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency.cli import cli
from agency.commandline.main import run
from agency.matrix import MatrixError, MatrixSession

SECRET = "matrix-registration-shared-secret"


@dataclass
class Machine:
    """Root on a machine: the settings of the reconciler `accounts`, and where files wait."""

    homeserver: object
    place: Path
    capsys: pytest.CaptureFixture[str]

    def configure(self, url: str | None = None) -> None:
        told = {
            "homeserverUrl": url or self.homeserver.url,
            "domain": self.homeserver.domain,
            "operators": [],
            "handoverDir": str(self.place / "handover"),
            "logInAt": "https://element.agency.example",
        }
        (self.place / "accounts.json").write_text(json.dumps(told))

    def reset(self, user: str) -> tuple[int, str]:
        """Return the exit status, and everything that was printed."""
        arguments = ("accounts", "reset", user, "--config", str(self.place / "accounts.json"))
        status = run(cli, arguments, prog_name="agency")
        printed = self.capsys.readouterr()
        return status, printed.out + printed.err

    def waiting(self) -> list[str]:
        return sorted(path.name for path in (self.place / "handover").iterdir())

    def password(self, name: str) -> str:
        lines = (self.place / "handover" / name).read_text().splitlines()
        (line,) = (one for one in lines if one.startswith("password: "))
        return line.removeprefix("password: ")

    def administrators(self, token: str) -> list[str]:
        """List the active administrators of resets, as an administrator sees them."""
        path = "/_synapse/admin/v2/users?deactivated=false&name=agency-reset"
        told = self.homeserver.request("GET", path, token).json()
        return [each["name"] for each in told["users"]]


@pytest.fixture
def machine(homeserver, tmp_path, monkeypatch, capsys) -> Machine:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / SECRET).write_text(homeserver.shared_secret)
    (tmp_path / "handover").mkdir(mode=0o700)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    made = Machine(homeserver, tmp_path, capsys)
    made.configure()
    return made


@pytest.fixture(scope="module")
def watcher(homeserver) -> str:
    """The access token of an administrator who only looks."""
    return homeserver.create_user("watcher", admin=True)


def test_a_lost_password_is_replaced_and_sessions_end(machine: Machine, watcher: str) -> None:
    lost = machine.homeserver.create_user("lara")
    whoami = "/_matrix/client/v3/account/whoami"
    assert machine.homeserver.request("GET", whoami, lost).status_code == 200

    status, printed = machine.reset("@lara:agency.example")
    assert status == 0, printed
    assert machine.waiting() == ["lara%3Aagency.example.txt"]
    password = machine.password("lara%3Aagency.example.txt")
    assert password not in printed
    assert machine.homeserver.log_in("@lara:agency.example", password).status_code == 200
    assert machine.homeserver.log_in("@lara:agency.example", "x" + password).status_code == 403
    assert machine.homeserver.request("GET", whoami, lost).status_code == 401
    assert machine.administrators(watcher) == [], "the right to do it ends with it"


def test_it_can_be_said_again(machine: Machine) -> None:
    machine.homeserver.create_user("mona")
    name = "mona%3Aagency.example.txt"
    assert machine.reset("@mona:agency.example")[0] == 0
    first = machine.password(name)
    assert machine.reset("@mona:agency.example")[0] == 0
    assert machine.password(name) == first, "it was not fetched yet"
    (machine.place / "handover" / name).unlink()
    assert machine.reset("@mona:agency.example")[0] == 0
    assert machine.password(name) != first
    assert machine.homeserver.log_in("@mona:agency.example", first).status_code == 403


@pytest.mark.parametrize(
    ("user", "status", "reason"),
    [
        ("@nobody-here:agency.example", 1, "no such account"),
        ("@lara:elsewhere.example", 2, "not an account of this homeserver"),
        ("lara", 2, "not an account of this homeserver"),
        ("@:agency.example", 1, "no such account"),
        ("@../../x:agency.example", 1, "no such account"),
    ],
)
def test_who_is_refused(
    machine: Machine, watcher: str, user: str, status: int, reason: str
) -> None:
    found, printed = machine.reset(user)
    assert (found, reason in printed) == (status, True), printed
    assert machine.waiting() == []
    assert machine.administrators(watcher) == []


def test_a_deactivated_account_stays_so(machine: Machine, watcher: str) -> None:
    machine.homeserver.create_user("nina")
    path = "/_synapse/admin/v1/deactivate/@nina:agency.example"
    done = machine.homeserver.request("POST", path, watcher, {"erase": False})
    assert done.status_code == 200
    status, printed = machine.reset("@nina:agency.example")
    assert status == 1
    assert "deactivated" in printed
    assert machine.waiting() == []


def test_an_account_of_a_provider_is_reset_there(machine: Machine, watcher: str) -> None:
    machine.homeserver.create_user("olga")
    path = "/_synapse/admin/v2/users/@olga:agency.example"
    body = {"external_ids": [{"auth_provider": "oidc-forge", "external_id": "7"}]}
    assert machine.homeserver.request("PUT", path, watcher, body).status_code == 200
    status, printed = machine.reset("@olga:agency.example")
    assert status == 1
    assert "at a provider" in printed
    assert machine.waiting() == []


def test_the_control_plane_s_and_agents_accounts_have_no_password(machine: Machine) -> None:
    body = {"type": "m.login.application_service", "username": "agent-quill"}
    path = "/_matrix/client/v3/register"
    made = machine.homeserver.request("POST", path, machine.homeserver.as_token, body)
    assert made.status_code == 200, made.text
    status, printed = machine.reset(made.json()["user_id"])
    assert status == 1
    assert "the control plane or an agent" in printed
    assert machine.waiting() == []


def test_what_an_interrupted_reset_left_goes_with_the_next(
    machine: Machine, watcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.homeserver.create_user("pia")
    real = MatrixSession.request

    async def cut(self, method, path, body=None, **kwargs):
        if method == "PUT" or "/deactivate/" in path:
            raise MatrixError("no answer from the homeserver in time", where=path)
        return await real(self, method, path, body, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(MatrixSession, "request", cut)
        status, printed = machine.reset("@pia:agency.example")
    assert status == 3, printed
    assert len(machine.administrators(watcher)) == 1
    name = "pia%3Aagency.example.txt"
    assert machine.waiting() == [name]
    promised = machine.password(name)

    assert machine.reset("@pia:agency.example")[0] == 0
    assert machine.administrators(watcher) == []
    assert machine.homeserver.log_in("@pia:agency.example", promised).status_code == 200


def test_a_wrong_secret_and_a_silent_homeserver_change_nothing(machine: Machine) -> None:
    machine.homeserver.create_user("rosa")
    (machine.place / "credentials" / SECRET).write_text("another")
    status, printed = machine.reset("@rosa:agency.example")
    assert status == 3
    assert "HMAC incorrect" in printed
    machine.configure("http://127.0.0.1:9")
    status, printed = machine.reset("@rosa:agency.example")
    assert status == 3
    assert "no answer from the homeserver" in printed
    assert machine.waiting() == []


def test_where_people_log_in_with_gitlab_it_says_so(machine: Machine) -> None:
    (machine.place / "accounts.json").unlink()
    status, printed = machine.reset("@rosa:agency.example")
    assert status == 3
    assert "with GitLab, reset it there" in " ".join(printed.split())
