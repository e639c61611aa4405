from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError
from agency.recipes.journal import Censor, Journal
from agency.recipes.outcome import CaseResult, Outcome
from agency.recipes.recipe.versions import parse_version
from agency.recipes.run.alarm import Alarm
from agency.recipes.run.perform import perform
from agency.recipes.stages.all import BASES_S, SkippedError, backup, custom, install, upgrade
from agency.recipes.stages.port import StageError
from agency.secrets import SecretValue

ONE, TWO, THREE, FOUR = (parse_version(f"{n}.0.0+x") for n in (1, 2, 3, 4))


@dataclass
class FakeApp:
    """An app that keeps pages, and loses or keeps them as it is told."""

    suites: set = field(default_factory=lambda: {"install", "write", "keep", "change"})
    versions: list = field(default_factory=lambda: [TWO, ONE])
    undeployable: set = field(default_factory=set)
    backed_up: tuple = ("app",)
    own: tuple = ("test_x.py",)
    log: list = field(default_factory=list)
    data: str = ""
    kept: str = ""

    @property
    def head(self):
        return SimpleNamespace(backed_up=self.backed_up)

    def earlier(self):
        return self.versions

    def deploy_head(self):
        self.log.append("head")

    def deploy_fresh(self, version):
        self.log.append(str(version))
        self.data = ""
        if version in self.undeployable:
            raise AgencyError("rotten image")

    def ensure_head(self):
        self.log.append("ensure")

    def back_up(self):
        self.kept = self.data

    def restore(self):
        self.data = self.kept

    def has_suite(self, name):
        return name in self.suites

    def suite(self, name):
        self.log.append(f"test {name}")
        self.data = {"write": "page", "change": ""}.get(name, self.data)
        if name == "keep" and self.data != "page":
            raise StageError("the page is gone")
        return (CaseResult(name, Outcome.PASS, 0.0),)

    def holds(self, name):
        return self.data == "page"

    def own_tests(self):
        return self.own

    def run_own_tests(self):
        return (CaseResult("own", Outcome.PASS, 0.0),)


def test_a_fault_of_this_program_ends_its_stage_and_the_log_has_it(tmp_path):
    def broken():
        raise KeyError("no such thing as hunter22")

    censor = Censor()
    censor.add([SecretValue("hunter22")])
    with Journal(tmp_path / "run.log", censor) as journal:
        swarm = SimpleNamespace(logs=lambda _: "")
        app = SimpleNamespace(
            journal=journal, clock=Clock(), swarm=swarm, stack="s", own_tests=broken
        )
        (result,) = perform(app, ["custom"], tmp_path, Alarm(60.0), lambda _: None)
    assert result.outcome is Outcome.ERROR
    assert result.reason.startswith("internal: a fault of agency, not of the recipe (KeyError)")
    log = (tmp_path / "custom.log").read_text()
    assert "in broken" in log
    assert "no such thing as [***]" in log


def test_install_without_tests_says_what_it_did_not_show():
    assert len(install(FakeApp()).tests) == 1
    shown = install(FakeApp(suites=set()))
    assert (shown.tests, "no test_install.py" in shown.notes[0]) == ((), True)


def test_an_upgrade_writes_before_and_looks_after():
    app = FakeApp()
    shown = upgrade(app)
    assert app.log == ["2.0.0+x", "test write", "head", "test keep", "test install"]
    assert shown.notes == ("from 2.0.0+x",)


def test_the_nearest_version_that_can_be_deployed_is_taken_and_told():
    app = FakeApp(undeployable={TWO})
    assert upgrade(app).notes == ("2.0.0+x cannot be deployed: rotten image", "from 1.0.0+x")


def test_the_only_version_that_can_be_deployed_is_taken_however_old_it_is():
    app = FakeApp(versions=[FOUR, THREE, TWO, ONE], undeployable={TWO, THREE, FOUR})
    assert upgrade(app).notes[-1] == "from 1.0.0+x"
    assert app.log[:5] == ["4.0.0+x", "3.0.0+x", "2.0.0+x", "1.0.0+x", "test write"]


def test_where_no_version_can_be_deployed_the_stage_fails_and_says_so():
    app = FakeApp(versions=[FOUR, THREE, TWO, ONE], undeployable={ONE, TWO, THREE, FOUR})
    with pytest.raises(StageError, match="no published version could be deployed") as caught:
        upgrade(app)
    for version in ("4.0.0+x", "1.0.0+x"):
        assert f"{version} cannot be deployed: rotten image" in caught.value.message
    assert app.log == ["4.0.0+x", "3.0.0+x", "2.0.0+x", "1.0.0+x"]


def test_a_long_history_is_told_in_few_words():
    many = [parse_version(f"{n}.0.0+x") for n in range(200, 0, -1)]
    with pytest.raises(StageError) as caught:
        upgrade(FakeApp(versions=many, undeployable=set(many)))
    assert "; 190 further ones neither; 1.0.0+x cannot" in caught.value.message


def test_versions_are_tried_for_a_bounded_time():
    app = FakeApp(versions=[FOUR, THREE, TWO, ONE], undeployable={ONE, TWO, THREE, FOUR})
    moments = iter([0.0, BASES_S - 1, BASES_S, BASES_S])
    with pytest.raises(StageError, match="2 older ones were not tried in 1800 s"):
        upgrade(app, Clock(steady=lambda: next(moments)))
    assert app.log == ["4.0.0+x", "3.0.0+x"]


def test_a_place_that_fails_is_not_taken_for_a_rotten_version():
    app = FakeApp()
    app.deploy_fresh = lambda version: (_ for _ in ()).throw(PrerequisiteError("no Docker"))
    with pytest.raises(PrerequisiteError):
        upgrade(app)


def test_an_upgrade_that_loses_data_is_a_failure():
    app = FakeApp()
    app.deploy_head = lambda: setattr(app, "data", "")
    with pytest.raises(StageError, match="gone"):
        upgrade(app)


@pytest.mark.parametrize(
    ("stage", "app", "reason"),
    [
        (upgrade, FakeApp(versions=[]), "no earlier version"),
        (upgrade, FakeApp(suites={"write"}), r"no test_keep\.py"),
        (backup, FakeApp(backed_up=()), "no service has the label"),
        (backup, FakeApp(suites={"write", "keep"}), r"no test_change\.py"),
        (custom, FakeApp(own=()), "no tests/"),
    ],
)
def test_what_cannot_be_shown_is_skipped_with_the_reason(stage, app, reason):
    with pytest.raises(SkippedError, match=reason):
        stage(app)
    assert app.log == []


def test_a_backup_gives_back_what_was_changed_after_it():
    app = FakeApp()
    backup(app)
    assert app.data == "page"


def test_an_empty_backup_is_a_failure():
    app = FakeApp()
    app.back_up = lambda: setattr(app, "kept", "")
    with pytest.raises(StageError, match="gone"):
        backup(app)


def test_a_change_that_is_none_cannot_show_a_restore():
    app = FakeApp()
    real = app.suite
    app.suite = lambda name: real(name) if name != "change" else ()
    with pytest.raises(StageError, match="cannot show"):
        backup(app)
