"""gitlab-bootstrap against a simulated GitLab that knows GitLab's API description."""

import asyncio
import importlib.util
import json
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.reconcile.engine.engine import Engine, Outcome, Report
from agency.reconcile.gitlab.bootstrap import GitlabBootstrapSettings, opened

_SPEC = importlib.util.spec_from_file_location(
    "simulated_gitlab_administration", Path(__file__).parent / "simulated_gitlab_administration.py"
)
simulated = importlib.util.module_from_spec(_SPEC)
sys.modules["simulated_gitlab_administration"] = simulated
_SPEC.loader.exec_module(simulated)

NOW = 1_800_000_000.0
DAY = 86_400.0


@dataclass
class Setup:
    gitlab: "simulated.SimulatedGitlab"
    url: str
    place: Path
    now: float = NOW

    @property
    def issued(self) -> Path:
        return self.place / "issued"

    def read(self, name: str) -> str:
        return (self.issued / name).read_text().strip()

    async def converge(self, *, check: bool = False, **changes) -> Report:
        settings = GitlabBootstrapSettings.model_validate(
            {
                "url": self.url,
                "issuedDir": str(self.issued),
                "readyTimeoutS": 0,
                "group": {"path": "agency", "name": "Agency"},
                "bot": {"username": "agency-bot", "name": "Agency bot", "email": "bot@x.example"},
                "runners": [
                    {"description": "agency", "tags": ["kvm"], "issued": "gitlab-runner-token"}
                ],
                "applications": [
                    {
                        "name": "Matrix",
                        "redirectUri": "https://matrix.x.example/_synapse/client/oidc/callback",
                        "issued": "matrix-oidc-client",
                    },
                    {
                        "name": "Grafana",
                        "redirectUri": "https://grafana.x.example/login/gitlab",
                        "issued": "grafana-oidc-client",
                    },
                ],
            }
            | changes
        )
        async with opened(settings, Clock(wall=lambda: self.now)) as reconciler:
            engine = Engine("gitlab-bootstrap", reconciler, self.place / "lock")
            report = await engine.run(check=check)
        assert self.gitlab.violations == []
        return report

    def files(self) -> dict[str, tuple]:
        return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in self.issued.iterdir()}

    def one(self, what: str) -> dict:
        (found,) = getattr(self.gitlab, what).values()
        return found


@pytest.fixture
def setup(tmp_path, monkeypatch):
    password = secrets.token_urlsafe(16)
    for name in ("credentials", "issued"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "credentials" / "gitlab-admin-token").write_text(password)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    gitlab = simulated.SimulatedGitlab(password)
    with simulated.serve(gitlab) as url:
        yield Setup(gitlab, url, tmp_path)


async def test_makes_everything_and_then_changes_nothing(setup):
    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    gitlab = setup.gitlab
    for identity, application in gitlab.applications.items():
        name = f"{application['application_name'].lower()}-oidc-client"
        assert setup.read(f"{name}-id") == application["application_id"]
        assert setup.read(f"{name}-secret") == gitlab.application_secrets[identity]
    assert setup.read("gitlab-runner-token") in gitlab.runner_tokens.values()
    assert setup.read("forge-bot-token") in gitlab.token_values.values()
    assert setup.one("runners")["access_level"] == "ref_protected"
    assert setup.one("members")["access_level"] == 30
    assert setup.one("users")["is_admin"] is False
    for path in setup.issued.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400

    files, gitlab.writes[:] = setup.files(), []
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    assert (await setup.converge(check=True)).exit_code == 0
    assert gitlab.writes == []
    assert setup.files() == files


async def test_each_runner_has_a_token_of_its_own(setup):
    runners = [
        {"description": "protected", "tags": ["kvm"], "issued": "protected-token"},
        {
            "description": "sandbox",
            "runUntagged": True,
            "accessLevel": "not_protected",
            "issued": "sandbox-token",
        },
    ]
    assert (await setup.converge(runners=runners)).outcome is Outcome.CHANGED
    gitlab = setup.gitlab
    tokens = {
        gitlab.runners[identity]["description"]: token
        for identity, token in gitlab.runner_tokens.items()
    }
    assert tokens == {
        "protected": setup.read("protected-token"),
        "sandbox": setup.read("sandbox-token"),
    }
    levels = {one["description"]: one["access_level"] for one in gitlab.runners.values()}
    assert levels == {"protected": "ref_protected", "sandbox": "not_protected"}
    assert (await setup.converge(runners=runners)).outcome is Outcome.UNCHANGED

    (lost,) = (n for n, one in gitlab.runners.items() if one["description"] == "sandbox")
    gitlab.runner_tokens[lost] = "glrt-reset"
    before = setup.read("protected-token")
    report = await setup.converge(runners=runners)
    assert [change.part for change in report.applied] == ["runner sandbox"]
    assert setup.read("sandbox-token") == gitlab.runner_tokens[lost] != "glrt-reset"
    assert setup.read("protected-token") == before


async def test_a_check_writes_nothing(setup):
    report = await setup.converge(check=True)
    assert (report.outcome, int(report.exit_code)) == (Outcome.DRIFT, 1)
    assert setup.gitlab.writes == []
    assert list(setup.issued.iterdir()) == []


async def test_no_secret_is_told(setup):
    first = await setup.converge()
    told = json.dumps(first.as_dict()) + repr(first)
    values = [
        setup.gitlab.root_token,
        *(p.read_text().strip() for p in setup.issued.iterdir() if not p.name.endswith("-id")),
    ]
    assert len(values) == 5
    assert not [value for value in values if value in told]


def moved(setup):
    setup.gitlab.applications[1]["callback_url"] = "https://evil.example/"


def unconfidential(setup):
    setup.gitlab.applications[1]["confidential"] = False


def wider(setup):
    setup.gitlab.applications[1]["scopes"] = ["openid", "api"]


def lost_application(setup):
    setup.gitlab.applications.pop(1)


def doubled_application(setup):
    one = setup.gitlab.applications[1]
    setup.gitlab.applications[90] = {**one, "id": 90, "application_id": "f" * 64}


def runner_open(setup):
    setup.one("runners")["access_level"] = "not_protected"


def runner_paused(setup):
    setup.one("runners")["paused"] = True


def runner_tags(setup):
    setup.one("runners")["tag_list"] = []


def runner_lost(setup):
    setup.gitlab.runners.clear()
    setup.gitlab.runner_tokens.clear()


def runner_token_reset(setup):
    (identity,) = setup.gitlab.runner_tokens
    setup.gitlab.runner_tokens[identity] = "glrt-other"


def group_public(setup):
    setup.one("groups")["visibility"] = "public"


def bot_blocked(setup):
    setup.one("users")["state"] = "blocked"


def bot_admin(setup):
    setup.one("users")["is_admin"] = True


def bot_renamed(setup):
    setup.one("users")["name"] = "Mallory"


def bot_left(setup):
    setup.gitlab.members.clear()


def bot_promoted(setup):
    setup.one("members")["access_level"] = 50


def token_revoked(setup):
    setup.one("tokens").update({"active": False, "revoked": True})


def token_expiring(setup):
    setup.now = NOW + 160 * DAY


def token_wider(setup):
    setup.one("tokens")["scopes"] = ["api", "sudo"]


def issued(name):
    def lose(setup):
        (setup.issued / name).unlink()

    lose.__name__ = f"lost {name}"
    return lose


DRIFTS = [
    moved, unconfidential, wider, lost_application, doubled_application, runner_open, runner_paused,
    runner_tags, runner_lost, runner_token_reset, group_public, bot_blocked, bot_admin, bot_renamed,
    bot_left, bot_promoted, token_revoked, token_expiring, token_wider,
    issued("matrix-oidc-client-id"), issued("matrix-oidc-client-secret"),
    issued("gitlab-runner-token"), issued("forge-bot-token"),
]  # fmt: skip


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.__name__)
async def test_every_kind_of_drift_is_seen_and_mended(setup, drift):
    await setup.converge()
    drift(setup)
    check = await setup.converge(check=True)
    assert int(check.exit_code) == 1, check
    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    assert (await setup.converge()).outcome is Outcome.UNCHANGED

    gitlab = setup.gitlab
    assert len(gitlab.applications) == 2
    ids = {one["application_id"] for one in gitlab.applications.values()}
    assert {setup.read("matrix-oidc-client-id"), setup.read("grafana-oidc-client-id")} == ids
    assert set(gitlab.runner_tokens.values()) == {setup.read("gitlab-runner-token")}
    live = [gitlab.token_values[i] for i, one in gitlab.tokens.items() if one["active"]]
    assert live == [setup.read("forge-bot-token")]


async def test_a_gitlab_that_does_not_tell_scopes_is_not_taken_for_drift(setup):
    setup.gitlab.tells_scopes = False
    await setup.converge()
    assert (await setup.converge()).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize(
    "call", ["POST /applications", "POST /user/runners", "POST /groups", "POST /users",
             "POST /groups/:id/members", "POST /users/:id/personal_access_tokens"],
)  # fmt: skip
async def test_a_run_that_failed_half_way_converges_next_time(setup, call):
    setup.gitlab.faults[call] = 422
    report = await setup.converge()
    assert (report.outcome, int(report.exit_code)) == (Outcome.FAILED, 1)
    assert "HTTP 422" in report.failures[0].error.message
    setup.gitlab.faults.clear()
    assert (await setup.converge()).outcome is Outcome.CHANGED
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    assert len(setup.gitlab.applications) == 2


async def test_a_secret_that_could_not_be_kept_is_issued_again(setup, monkeypatch):
    def full(*_args, **_kw):
        raise PrerequisiteError("no space", where="disk")

    with monkeypatch.context() as patch:
        patch.setattr("agency.reconcile.issued.write_atomically", full)
        assert (await setup.converge()).outcome is Outcome.FAILED
    assert (await setup.converge()).outcome is Outcome.CHANGED
    assert len(setup.gitlab.applications) == 2
    assert len(setup.gitlab.runners) == 1
    assert [one["active"] for one in setup.gitlab.tokens.values()].count(True) == 1


async def test_two_runs_at_once_make_everything_once(setup):
    reports = await asyncio.gather(setup.converge(), setup.converge())
    assert sorted(report.outcome for report in reports) == [Outcome.CHANGED, Outcome.UNCHANGED]
    assert len(setup.gitlab.users) == 1


async def test_a_wrong_token_and_a_gitlab_that_is_down_are_missing_prerequisites(setup):
    setup.gitlab.root_scopes = ("read_api",)
    with pytest.raises(PrerequisiteError, match="has not the scope api"):
        await setup.converge()
    (setup.place / "credentials" / "gitlab-admin-token").write_text("another-one")
    with pytest.raises(
        PrerequisiteError, match="does not accept the administrator's token"
    ) as told:
        await setup.converge()
    assert "another-one" not in str(told.value)
    setup.url = "http://127.0.0.1:9"
    with pytest.raises(PrerequisiteError, match="does not answer") as told:
        await setup.converge()
    assert "another-one" not in repr(told.value) + str(told.value.__cause__)


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("POST /applications", {"name": "x", "redirect_uri": "x", "scopes": "x", "uid": "chosen"}),
        ("POST /user/runners", {"description": "x"}),
        ("PUT /groups/1", {"visibility": "secret"}),
        ("PUT /applications/1", {"redirect_uri": "x"}),
    ],
)
def test_the_simulation_takes_no_call_that_gitlab_does_not_have(key, given):
    gitlab = simulated.SimulatedGitlab("x")
    method, path = key.split()
    assert gitlab.answer(method, f"/api/v4{path}", {}, given)[0] == 599
    assert gitlab.violations


async def test_operators_names_are_taken_from_the_start(setup):
    """The user of such a name in GitLab is that operator to Matrix."""
    people = [{"username": name, "email": f"{name}@x.example"} for name in ("alice", "bob.b")]
    report = await setup.converge(people=people)
    assert report.outcome is Outcome.CHANGED, report
    made = {one["username"]: one for one in setup.gitlab.users.values()}
    assert {"alice", "bob.b"} <= set(made)
    assert not made["alice"]["is_admin"]
    assert (await setup.converge(people=people)).outcome is Outcome.UNCHANGED

    (gone,) = (n for n, one in setup.gitlab.users.items() if one["username"] == "alice")
    del setup.gitlab.users[gone]
    report = await setup.converge(people=people)
    assert [change.part for change in report.applied] == ["operator alice"]
