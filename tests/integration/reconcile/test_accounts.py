"""accounts against a real Synapse: who is made, with which password, and who learns it."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.matrix import MatrixError, MatrixSession
from agency.reconcile.engine.engine import Engine, Outcome, Report
from agency.reconcile.matrix.accounts import AccountsSettings, opened

SECRET = "matrix-registration-shared-secret"
PASSWORD_AUTH = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "@erin:agency.example"},
}


@dataclass
class Setup:
    homeserver: object
    place: Path
    operators: tuple[str, ...] = ()
    url: str | None = None

    @property
    def handover(self) -> Path:
        return self.place / "handover"

    async def converge(self, *, check: bool = False) -> Report:
        settings = AccountsSettings.model_validate(
            {
                "homeserverUrl": self.url or self.homeserver.url,
                "domain": self.homeserver.domain,
                "operators": self.operators,
                "handoverDir": str(self.handover),
                "logInAt": "https://element.agency.example",
            }
        )
        async with opened(settings) as reconciler:
            return await Engine("accounts", reconciler, self.place / "lock").run(check=check)

    def files(self) -> dict[str, Path]:
        return {path.name: path for path in self.handover.iterdir()}

    def password(self, name: str) -> str:
        lines = self.files()[name].read_text().splitlines()
        (line,) = (one for one in lines if one.startswith("password: "))
        return line.removeprefix("password: ")


@pytest.fixture
def setup(homeserver, tmp_path, monkeypatch) -> Setup:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / SECRET).write_text(homeserver.shared_secret)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    made = Setup(homeserver, tmp_path)
    made.handover.mkdir(mode=0o700)
    return made


async def test_an_operator_logs_in_with_what_was_handed_over_once(setup: Setup) -> None:
    setup.operators = ("@ann:agency.example", "@bob:elsewhere.example")
    assert (await setup.converge(check=True)).exit_code == 1
    assert setup.files() == {}

    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    # The operator of another homeserver has an account there.
    assert list(setup.files()) == ["ann%3Aagency.example.txt"]
    (file,) = setup.files().values()
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    password = setup.password(file.name)
    assert len(password) >= 20
    assert password not in str(report.as_dict())
    assert setup.homeserver.log_in("@ann:agency.example", password).status_code == 200
    assert setup.homeserver.log_in("@ann:agency.example", "x" + password).status_code == 403

    file.unlink()
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    assert setup.files() == {}
    assert setup.homeserver.log_in("@ann:agency.example", password).status_code == 200


async def test_an_account_that_is_there_is_left_alone(setup: Setup) -> None:
    setup.homeserver.create_user("carol")
    setup.operators = ("@carol:agency.example",)
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    assert setup.files() == {}


async def test_a_run_that_ended_in_between_costs_nothing(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password was written; whether the homeserver made the account is not known."""
    setup.operators = ("@dora:agency.example",)
    real = MatrixSession.request

    async def cut(self, method, path, body=None, **kwargs):
        if method == "POST":
            raise MatrixError("no answer from the homeserver in time", where=path)
        return await real(self, method, path, body, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(MatrixSession, "request", cut)
        assert (await setup.converge()).outcome is Outcome.FAILED
    password = setup.password("dora%3Aagency.example.txt")
    assert setup.homeserver.log_in("@dora:agency.example", password).status_code == 403

    assert (await setup.converge()).outcome is Outcome.CHANGED
    assert setup.password("dora%3Aagency.example.txt") == password
    assert setup.homeserver.log_in("@dora:agency.example", password).status_code == 200


async def test_a_name_that_is_never_given_again_is_refused_and_leaves_no_password(
    setup: Setup,
) -> None:
    setup.operators = ("@erin:agency.example",)
    await setup.converge()
    (file,) = setup.files().values()
    password = setup.password(file.name)
    file.unlink()
    token = setup.homeserver.log_in("@erin:agency.example", password).json()["access_token"]
    body = {"erase": True, "auth": PASSWORD_AUTH | {"password": password}}
    deactivate = "/_matrix/client/v3/account/deactivate"
    assert setup.homeserver.request("POST", deactivate, token, body).status_code == 200

    report = await setup.converge()
    assert report.outcome is Outcome.FAILED
    assert "deactivated" in str(report.failures[0].error)
    assert setup.files() == {}


async def test_a_wrong_secret_makes_nobody_and_leaves_no_password(setup: Setup) -> None:
    (setup.place / "credentials" / SECRET).write_text("another")
    setup.operators = ("@finn:agency.example",)
    report = await setup.converge()
    assert report.outcome is Outcome.FAILED
    assert "makes no account" in str(report.failures[0].error)
    assert setup.files() == {}


async def test_a_homeserver_that_is_down_is_a_missing_prerequisite(setup: Setup) -> None:
    setup.operators = ("@gina:agency.example",)
    setup.url = "http://127.0.0.1:9"
    with pytest.raises(PrerequisiteError, match="does not answer"):
        await setup.converge()


async def test_a_name_cannot_leave_the_directory(setup: Setup) -> None:
    setup.operators = ("@../../x/h:agency.example",)
    await setup.converge()
    assert [path.parent for path in setup.files().values()] == [setup.handover]
    assert not (setup.place.parent / "x").exists()
