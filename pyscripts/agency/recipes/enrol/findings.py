"""Findings about a recipe: all that decides how it can be tested. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agency.recipes.policy import Violation, violations
from agency.recipes.recipe.read import RecipeFiles
from agency.recipes.recipe.versions import Version

_OWN_VARIABLES = ("TYPE", "DOMAIN", "LETS_ENCRYPT_ENV", "COMPOSE_FILE")
_ROUTER = re.compile(r"traefik\.(http|tcp)\.routers\.([^.]+)\.(rule|tls\.passthrough)\Z")
_HOST = re.compile(r"Host(?:SNI)?\(([^)]*)\)")
_QUOTED = re.compile(r"[`'\"]([^`'\"]+)[`'\"]")
_PORT = re.compile(r"\.loadbalancer\.server\.port\Z")
_URL = re.compile(
    r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::(\d+))?(/[A-Za-z0-9._~/-]*)"
)
_HOOK = re.compile(r"backupbot\.(?:backup|restore)\.(?:pre|post)-hook\Z")


@dataclass(frozen=True, slots=True)
class Route:
    """A Traefik router of a service: the names that lead to it; `port` is 0 where none is said."""

    hosts: tuple[str, ...]
    port: int
    passthrough: bool


@dataclass(frozen=True, slots=True)
class FoundService:
    """One service; `healthcheck` is its command, empty without one."""

    name: str
    image: str
    healthcheck: str
    backup: bool
    hooks: tuple[str, ...]
    secrets: tuple[str, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """A recipe as it would be tested; `refused` is what the policy refuses."""

    recipe: str
    services: tuple[FoundService, ...]
    volumes: tuple[str, ...]
    variables: tuple[str, ...]
    secrets: tuple[str, ...]
    versions: tuple[str, ...]
    refused: tuple[Violation, ...]

    @property
    def routed(self) -> FoundService | None:
        """The first service that Traefik leads to by a name; None if there is none."""
        return next((one for one in self.services if any(r.hosts for r in one.routes)), None)

    @property
    def backed_up(self) -> bool:
        """True if a service asks for backups."""
        return any(one.backup for one in self.services)

    @property
    def health_path(self) -> str:
        """Path of the routed service that its health check asks for over HTTP, else `/`."""
        service = self.routed
        found = _URL.search(service.healthcheck) if service else None
        if service is None or found is None:
            return "/"
        ports = {route.port for route in service.routes}
        inside = int(found[1] or 80)
        return found[2] if inside in ports or ports == {0} else "/"

    def as_dict(self) -> dict[str, Any]:
        """Describe them for `--json`."""
        return asdict(self)


def find(recipe: RecipeFiles, versions: Sequence[Version]) -> Findings:
    """Collect the findings.

    Raises:
        BadInputError: a file has not the form of a compose file.
    """
    checks = dict(_healthchecks(recipe))
    services = tuple(
        FoundService(
            name=one.name,
            image=one.image,
            healthcheck=checks.get(one.name, "") if one.healthcheck else "",
            backup=bool(one.backup_version),
            hooks=tuple(sorted(key for key in one.labels if _HOOK.match(key))),
            secrets=one.secrets,
            routes=_routes(one.labels),
        )
        for one in recipe.services
    )
    volumes = {key for file in recipe.compose for _, key, _ in file.section("volumes")}
    names = dict.fromkeys(variable.name for variable in recipe.variables)
    return Findings(
        recipe=recipe.name,
        services=services,
        volumes=tuple(sorted(volumes)),
        variables=tuple(
            name for name in names if name not in _OWN_VARIABLES and not _is_secret(name)
        ),
        secrets=tuple(dict.fromkeys(recipe.secrets)),
        versions=tuple(map(str, versions)),
        refused=violations(recipe),
    )


def _is_secret(name: str) -> bool:
    return name.startswith("SECRET_") and name.endswith("_VERSION")


def _healthchecks(recipe: RecipeFiles) -> Iterator[tuple[str, str]]:
    for file in recipe.compose:
        for _, name, part in file.section("services"):
            check = part.get("healthcheck")
            test = check.get("test") if isinstance(check, dict) else None
            if test:
                words = test if isinstance(test, list) else [test]
                yield name, " ".join(map(str, words))


def _routes(labels: Mapping[str, str]) -> tuple[Route, ...]:
    hosts: dict[tuple[str, str], tuple[str, ...]] = {}
    passed: set[tuple[str, str]] = set()
    for key, value in labels.items():
        match = _ROUTER.match(key)
        if match is None:
            continue
        router = (match[1], match[2])
        if match[3] == "rule":
            listed = (name for group in _HOST.findall(value) for name in _QUOTED.findall(group))
            hosts[router] = tuple(dict.fromkeys(listed))
        elif value.lower() == "true":
            passed.add(router)
    ports = [int(v) for k, v in labels.items() if _PORT.search(k) and v.isdigit()]
    port = ports[0] if ports else 0
    return tuple(Route(hosts[one], port, one in passed) for one in sorted(hosts))
