"""App of a run: abra acts, the swarm is looked at, the app is asked over HTTP.

stage ─▶ App ─▶ abra (checkout, .env, secrets, deploy, backup)
          ├───▶ Swarm: every service runs as deployed
          ├───▶ AppClient: the app answers as readiness.yaml demands
          └───▶ SuiteRunner: the tests of the recipe
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agency.clock import Clock
from agency.coopcloud import AbraHome
from agency.errors import AgencyError, BadInputError
from agency.files import write_atomically
from agency.recipes.client import AppClient
from agency.recipes.facts import HEAD, MAX_DEPLOYMENTS, Deployment
from agency.recipes.journal import Journal
from agency.recipes.observe.timesheet import Timesheet
from agency.recipes.outcome import CaseResult
from agency.recipes.policy import violations
from agency.recipes.recipe.read import RecipeFiles, read_recipe
from agency.recipes.recipe.versions import Version, published
from agency.recipes.registries import NO_REGISTRIES, Registries
from agency.recipes.run.checkout import Checkout
from agency.recipes.run.sidecar import Sidecar
from agency.recipes.run.swarm import Swarm
from agency.recipes.stages.all import SUITES
from agency.recipes.stages.readiness import read_readiness, wait_ready
from agency.recipes.stages.suites import SuiteError, SuiteRunner

SETTLE_S = 300.0
REMOVAL_S = 90.0  # for what the swarm ends by itself
REMOVED_S = 10.0  # for what abra says it has removed
_POLL_S = 0.2


@dataclass(slots=True)
class App:
    """App of one run.

    `tests` is the directory of the stages' suites, `own` that of the recipe's own tests; None if
    there is none.
    """

    head: RecipeFiles
    stack: str
    checkout: Checkout
    abra: AbraHome
    swarm: Swarm
    client: AppClient
    runner: SuiteRunner
    sidecar: Sidecar
    tests: Path | None
    own: Path | None
    clock: Clock
    journal: Journal
    timesheet: Timesheet
    registries: Registries = NO_REGISTRIES
    deployments: list[Deployment] = field(default_factory=list, init=False)
    _created: bool = field(default=False, init=False)
    _running: str | None = field(default=None, init=False)

    @property
    def created(self) -> bool:
        """True once abra was asked to create the app."""
        return self._created

    def earlier(self) -> Sequence[Version]:
        """List the published versions before the one under test, the latest first."""
        own = published(self.checkout.tag_commits())
        every = published(self.checkout.tags())
        return [one for one in every if one not in own and (not own or one < own[0])]

    def deploy_head(self) -> None:
        """Deploy the recipe under test, over what is there, and wait until it is ready."""
        self._configure(self.head)
        self.checkout.switch_to_head()
        self._say("deploying the recipe under test")
        self._running = None
        self.abra.deploy(self.journal)
        self._wait()
        self._deployed(HEAD)

    def deploy_fresh(self, version: Version) -> None:
        """Deploy a published version without any data, and wait until it is ready."""
        self.checkout.switch(str(version))
        recipe = read_recipe(
            self.checkout.directory, self.head.name, self.client.domain, self.head.overlay
        )
        examine(recipe)
        self._configure(recipe)
        self.wipe()
        self._say(f"deploying the published version {version}")
        self.abra.deploy(self.journal, str(version))
        self._wait()
        self._deployed(str(version))

    def ensure_head(self) -> None:
        """Deploy the recipe under test unless it is what runs."""
        if self._running != HEAD:
            self.wipe()
            self.deploy_head()

    def back_up(self) -> None:
        """Take a backup."""
        self._say("taking a backup")
        self.abra.back_up(self.journal)

    def restore(self) -> None:
        """Restore the latest backup, and wait until the app is ready."""
        self._say("restoring the backup")
        self.abra.restore(self.journal)
        self._wait()

    def has_suite(self, name: str) -> bool:
        """Return whether the tests have a file `test_<name>.py`."""
        return self.tests is not None and (self.tests / f"test_{name}.py").is_file()

    def suite(self, name: str) -> tuple[CaseResult, ...]:
        """Run `test_<name>.py` against the app; raise if one of its tests fails."""
        assert self.tests is not None
        return self._run(self.tests, [f"test_{name}.py"])

    def holds(self, name: str) -> bool:
        """Return whether `test_<name>.py` passes now; its results are not counted."""
        assert self.tests is not None
        runner = replace(self.runner, album=None)
        try:
            self._run(self.tests, [f"test_{name}.py"], runner)
        except SuiteError:
            return False
        return True

    def own_tests(self) -> Sequence[str]:
        """List the files of the recipe's own `tests/` that no other stage runs."""
        if self.own is None:
            return []
        stages = {f"test_{name}.py" for name in SUITES}
        found = sorted(p.relative_to(self.own).as_posix() for p in self.own.rglob("test_*.py"))
        return [name for name in found if name not in stages]

    def run_own_tests(self) -> tuple[CaseResult, ...]:
        """Run them; raise if one fails."""
        assert self.own is not None
        return self._run(self.own, self.own_tests())

    def wipe(self) -> None:
        """Remove the services and their data; the secrets stay."""
        if not self.swarm.remains(self.stack):
            return
        if self.swarm.services(self.stack):
            self._running = None
            self.abra.undeploy(self.journal)
            self._wait_gone(REMOVED_S, "service")
            self._wait_gone(REMOVAL_S, "container", "network")
        if self._there("volume"):
            self.abra.remove_volumes(self.journal)
            self._wait_gone(REMOVED_S, "volume")

    def _there(self, *kinds: str) -> list[str]:
        return [str(one) for one in self.swarm.remains(self.stack) if one.kind in kinds]

    def _wait_gone(self, seconds: float, *kinds: str) -> None:
        deadline = self.clock.steady() + seconds
        with self.timesheet.waiting():
            while left := self._there(*kinds):
                if self.clock.steady() >= deadline:
                    told = f"not removed: {', '.join(left)}"
                    raise AgencyError(told, where=f"stack {self.stack}")
                time.sleep(_POLL_S)

    def _configure(self, recipe: RecipeFiles) -> None:
        """Give the app the `.env` of a version of the recipe, and the secrets that it names."""
        if not self._created:
            self._created = True
            self._say(f"creating the app {self.client.domain}")
            self.abra.new(recipe.name, self.journal)
        write_atomically(self.abra.environment_file, recipe.environment.encode(), mode=0o600)
        if recipe.overlay is not None:
            self.checkout.put(recipe.overlay.file, recipe.overlay.text)
        for image in sorted({service.image for service in recipe.services}):
            login = self.registries.login(image)
            if login is not None:
                self._say(f"pulling {image} with a log-in")
                self.swarm.pull(image, login)
        if recipe.secrets:
            self.sidecar.add(self.abra.generate_secrets(self.journal))

    def _wait(self) -> None:
        # A stack whose services are not there when abra ends will never have any.
        there = bool(self.swarm.services(self.stack))
        wanted = read_readiness(self.tests)
        with self.timesheet.waiting():
            self.swarm.wait_settled(self.stack, SETTLE_S if there else 0.0)
            wait_ready(wanted, self.client, self.clock)

    def _deployed(self, version: str) -> None:
        """Record what runs: abra's word and the compose file do not say which image it is."""
        self._running = version
        seen = Deployment(
            version, self.swarm.version_label(self.stack), self.swarm.running_images(self.stack)
        )
        if seen not in self.deployments and len(self.deployments) < MAX_DEPLOYMENTS:
            self.deployments.append(seen)

    def _run(
        self, directory: Path, files: Sequence[str], runner: SuiteRunner | None = None
    ) -> tuple[CaseResult, ...]:
        suites = runner or self.runner
        return suites.run_files(directory, files, self.sidecar.reveal(), self.journal)

    def _say(self, text: str) -> None:
        self.journal.say(f"# {text}")


def examine(recipe: RecipeFiles) -> None:
    """Refuse a recipe that reaches out of its app.

    Raises:
        BadInputError: it does; the message has the first line and the number of all.
    """
    found = violations(recipe)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise BadInputError(
            f"refused by the policy ({found[0].rule}): {found[0].message}{more}",
            where=found[0].where,
            hint="docs/recipes.md lists what an app may not have",
        )
