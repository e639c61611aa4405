"""The reconciler of the CI engine's OAuth client, on a real Gitea."""

from __future__ import annotations

import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from running_gitea import Gitea

from agency.cli import cli
from agency.errors import AgencyError
from agency.reconcile.engine.engine import Engine, Outcome, Report
from agency.reconcile.gitea.client import GiteaClientSettings, opened

pytestmark = pytest.mark.forge
REDIRECT = "https://drone.agency.example.org/login"


@dataclass
class Setup:
    """A Gitea with a bot of the test's own, and what the reconciler issued."""

    gitea: Gitea
    bot: str
    place: Path

    def read(self, part: str) -> str:
        return (self.place / "issued" / f"drone-oauth-client-{part}").read_text().strip()

    def files(self) -> dict[str, tuple[int, int]]:
        found = (self.place / "issued").iterdir()
        return {one.name: (one.stat().st_ino, one.stat().st_mtime_ns) for one in found}

    def call(self, method: str, path: str = "", body: Any = None) -> Any:
        answer = requests.request(
            method,
            f"{self.gitea.url}/api/v1/user/applications/oauth2{path}",
            json=body,
            headers={"Authorization": f"token {self.bot}"},
            timeout=30,
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def one(self) -> dict[str, Any]:
        (found,) = self.call("GET")
        return dict(found)

    def exchange(self, secret: str) -> str:
        """What Gitea says to the client that shows a code of nobody: `token` of RFC 6749."""
        body = {
            "grant_type": "authorization_code",
            "client_id": self.read("id"),
            "client_secret": secret,
            "code": "of-nobody",
            "redirect_uri": REDIRECT,
        }
        url = f"{self.gitea.url}/login/oauth/access_token"
        return str(requests.post(url, data=body, timeout=30).json())

    async def converge(self, *, check: bool = False, **changes: Any) -> Report:
        wanted = {
            "url": self.gitea.url,
            "name": "drone",
            "redirectUri": REDIRECT,
            "issued": "drone-oauth-client",
            "issuedDir": str(self.place / "issued"),
        }
        settings = GiteaClientSettings.model_validate(wanted | changes)
        async with opened(settings) as reconciler:
            engine = Engine("gitea-client", reconciler, self.place / "lock")
            return await engine.run(check=check)


@pytest.fixture
def setup(gitea_server: Gitea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    for name in ("credentials", "issued"):
        (tmp_path / name).mkdir(mode=0o700)
    bot = gitea_server.person(f"bot-{secrets.token_hex(4)}")
    (tmp_path / "credentials" / "forge-bot-token").write_text(bot)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    return Setup(gitea_server, bot, tmp_path)


async def test_a_client_is_made_once_and_gitea_takes_its_secret(setup: Setup) -> None:
    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    one = setup.one()
    assert (one["name"], one["redirect_uris"]) == ("drone", [REDIRECT])
    assert one["confidential_client"] is True
    assert setup.read("id") == one["client_id"]
    right, wrong = setup.exchange(setup.read("secret")), setup.exchange("not-the-secret")
    assert "invalid client secret" in wrong
    assert "invalid client secret" not in right, "the secret that was issued is the client's"
    for path in (setup.place / "issued").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400

    files, before = setup.files(), setup.read("secret")
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    assert (await setup.converge(check=True)).exit_code == 0
    assert setup.files() == files
    assert (setup.one(), setup.read("secret")) == (one, before)


async def test_a_changed_redirect_uri_heals(setup: Setup) -> None:
    await setup.converge()
    one = setup.one()
    elsewhere = {"name": "drone", "redirect_uris": ["https://evil.example/login"]}
    setup.call("PATCH", f"/{one['id']}", elsewhere | {"confidential_client": True})
    drift = await setup.converge(check=True)
    assert drift.outcome is Outcome.DRIFT
    assert drift.pending[0].what == "redirect URI"
    assert setup.one()["redirect_uris"] == ["https://evil.example/login"], "a check changes nothing"
    assert (await setup.converge()).outcome is Outcome.CHANGED
    healed = setup.one()
    assert (healed["client_id"], healed["redirect_uris"]) == (one["client_id"], [REDIRECT])
    assert "invalid client secret" not in setup.exchange(setup.read("secret"))


@pytest.mark.parametrize("lost", ["secret", "id"])
async def test_rotation_makes_a_new_secret_and_the_old_one_is_refused(
    setup: Setup, lost: str
) -> None:
    """By hand it is that: remove the file, run the reconciler."""
    await setup.converge()
    old, identity = setup.read("secret"), setup.read("id")
    (setup.place / "issued" / f"drone-oauth-client-{lost}").unlink()
    assert (await setup.converge()).outcome is Outcome.CHANGED
    assert (setup.read("id"), setup.one()["client_id"]) == (identity, identity)
    assert setup.read("secret") != old
    assert "invalid client secret" in setup.exchange(old)
    assert "invalid client secret" not in setup.exchange(setup.read("secret"))
    assert (await setup.converge()).outcome is Outcome.UNCHANGED


async def test_a_secret_that_somebody_else_renewed_is_issued_again(setup: Setup) -> None:
    await setup.converge()
    one = setup.one()
    same = {"name": "drone", "redirect_uris": [REDIRECT], "confidential_client": True}
    setup.call("PATCH", f"/{one['id']}", same)
    assert "invalid client secret" in setup.exchange(setup.read("secret"))
    report = await setup.converge()
    assert [(one.what, one.before) for one in report.applied] == [
        ("client secret", "lost or refused")
    ]
    assert "invalid client secret" not in setup.exchange(setup.read("secret"))


async def test_a_removed_client_is_made_again_and_a_double_removed(setup: Setup) -> None:
    await setup.converge()
    setup.call("DELETE", f"/{setup.one()['id']}")
    assert (await setup.converge()).outcome is Outcome.CHANGED
    identity = setup.read("id")
    setup.call("POST", "", {"name": "drone", "redirect_uris": [REDIRECT]})
    other = {"name": "of a person", "redirect_uris": ["https://mine.example/"]}
    setup.call("POST", "", other)
    assert (await setup.converge()).outcome is Outcome.CHANGED
    names = {one["name"]: one["client_id"] for one in setup.call("GET")}
    assert names["drone"] == identity
    assert set(names) == {"drone", "of a person"}, "what has another name is not ours"
    assert len(setup.call("GET")) == 2


async def test_a_token_without_the_right_is_told_which_it_needs(setup: Setup) -> None:
    credential = setup.place / "credentials" / "forge-bot-token"
    credential.write_text("0" * 40)
    with pytest.raises(AgencyError) as caught:
        await setup.converge()
    assert "write:user" in str(caught.value.hint)
    credential.write_text(setup.gitea.person(f"weak-{secrets.token_hex(4)}", ["read:user"]))
    report = await setup.converge()
    assert report.outcome is Outcome.FAILED
    (failure,) = report.failures
    assert "write:user" in str(failure.error.hint)
    assert list((setup.place / "issued").iterdir()) == []


def test_no_secret_is_told(setup: Setup) -> None:
    """By the command line, as its unit runs it: made, then rotated while the old one is known."""
    file = setup.place / "gitea-client.json"
    wanted = GiteaClientSettings(
        url=setup.gitea.url,
        name="drone",
        redirect_uri=REDIRECT,
        issued="drone-oauth-client",
        issued_dir=setup.place / "issued",
    )
    file.write_text(wanted.model_dump_json(by_alias=True))
    environment = {"RUNTIME_DIRECTORY": str(setup.place), "XDG_RUNTIME_DIR": str(setup.place)}
    told, values = "", {setup.bot}
    for round_ in range(3):
        words = ["reconcile", "gitea-client", "--config", str(file)]
        done = CliRunner().invoke(cli, words + ["--json"] * (round_ % 2), env=environment)
        assert done.exit_code == 0, done.output
        told += done.output
        values.add(setup.read("secret"))
        if round_ == 0:
            (setup.place / "issued" / "drone-oauth-client-id").unlink()
    assert len(values) == 3
    assert "drone" in told
    assert [one for one in values if one in told] == []
