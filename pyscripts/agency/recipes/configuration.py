"""Configuration of recipe CI on a machine: `/etc/agency/recipes.json`, which NixOS writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import BadInputError, PrerequisiteError
from agency.secrets import CI_ENGINE_TOKEN

DEFAULT = Path("/etc/agency/recipes.json")
_MAX_BYTES = 4 * 1024 * 1024

Port = Annotated[int, Field(ge=1, le=65535)]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ForgeSettings(_Written):
    """The forge whose pull requests are tested."""

    kind: Literal["gitea", "gitlab"]
    url: str


class RecipeSettings(_Written):
    """A recipe that is enrolled: its repository on the forge, as `owner/name`."""

    repository: str


class Hosts(_Written):
    """Names that people reach the parts by."""

    bridge: str
    dashboard: str


class Ports(_Written):
    """Ports on loopback that the parts answer on."""

    bridge: Port
    dashboard: Port
    runner: Port | None = None


class RunnerSettings(_Written):
    """Settings of the runs: the way to the apps, the instance's suites, time limits.

    `through` is the address of Traefik and `ca` what must have signed its certificate; `tests` has
    a directory of suites for each recipe.
    """

    through: str = "https://127.0.0.1"
    ca: Path | None = None
    tests: Path | None = None
    deploy_timeout_s: Annotated[int, Field(alias="deployTimeoutSeconds", ge=5, le=7200)] = 900
    suite_timeout_s: Annotated[int, Field(alias="suiteTimeoutSeconds", ge=5, le=7200)] = 900


class EngineSettings(_Written):
    """An engine of others: its address, and the repository on it that has the pipeline.

    `credential` names the file with its token among the program's credentials.
    """

    url: str
    repository: Annotated[str, Field(pattern=r"^[\w.-]+(?:/[\w.-]+)+$", max_length=200)]
    credential: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = CI_ENGINE_TOKEN
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] = "main"


class BridgeSettings(_Written):
    """The comment bridge.

    `allow` names accounts that may start runs although they are no members of the repository's
    owner. A comment that is older than `maxAgeHours` when it is first seen starts none.
    """

    allow: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    max_age_hours: Annotated[int, Field(alias="maxAgeHours", ge=1, le=720)] = 24


class RecipesConfig(_Written):
    """All of it. `state` is the directory that the parts share; `wildcard` names the apps.

    The runner removes the files of a run `retentionDays` after its end; without it, none.
    """

    domain: str
    engine: Literal["builtin", "drone", "woodpecker", "gitea-actions"]
    max_tests: Annotated[int, Field(alias="maxTests", ge=1, le=64)]
    build_timeout_minutes: Annotated[int, Field(alias="buildTimeoutMinutes", ge=5, le=1440)]
    recipes: dict[str, RecipeSettings]
    forge: ForgeSettings
    hosts: Hosts
    ports: Ports
    wildcard: str
    state: Path
    bridge: BridgeSettings = BridgeSettings()
    runner: RunnerSettings = RunnerSettings()
    retention_days: Annotated[int | None, Field(alias="retentionDays", ge=1, le=3650)] = None
    engine_at: Annotated[EngineSettings | None, Field(alias="engineAt")] = None

    @property
    def zone(self) -> str:
        """Domain below which the apps are."""
        return self.wildcard.removeprefix("*.")

    @property
    def recipe_of(self) -> dict[str, str]:
        """The names of recipes, by repository."""
        return {one.repository: name for name, one in self.recipes.items()}


def read_config(path: Path) -> RecipesConfig:
    """Read the configuration.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: it is not of this form.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read the configuration: {error.strerror}",
            where=str(path),
            hint="services.ci.enable of the instance makes NixOS write it",
        ) from error
    try:
        return RecipesConfig.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInputError(
            first["msg"], where=f"{path}: {place}" if place else str(path)
        ) from error
