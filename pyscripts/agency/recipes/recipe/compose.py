"""Compose files of a recipe: services with their labels, health checks, secrets and backups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agency.errors import BadInputError
from agency.recipes.recipe.interpolation import interpolated
from agency.recipes.recipe.yaml_lines import Document, Loc, read_yaml


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """One compose file with its variables interpolated; `asked` are the names of those."""

    document: Document
    asked: frozenset[str] = frozenset()

    @property
    def data(self) -> Mapping[str, Any]:
        """Top of the file."""
        return dict(self.document.data)

    def section(self, name: str) -> Iterator[tuple[Loc, str, dict[str, Any]]]:
        """List the named parts of a section (services, volumes, ...) with their locations.

        Raises:
            BadInputError: the section or a part is no mapping.
        """
        section = self.data.get(name) or {}
        if not isinstance(section, dict):
            raise BadInputError(f"{name} is not a mapping", where=self.document.where((name,)))
        for key, part in section.items():
            if part is not None and not isinstance(part, dict):
                raise BadInputError(
                    f"{name}.{key} is not a mapping", where=self.document.where((name, key))
                )
            yield (name, key), key, part or {}


@dataclass(frozen=True, slots=True)
class Service:
    """One service over all files; `backup_version` is 0 without a backup label."""

    name: str
    image: str
    labels: Mapping[str, str]
    healthcheck: bool
    secrets: tuple[str, ...]

    @property
    def backup_version(self) -> int:
        """Version of the backup labels' specification that this service follows."""
        if self.labels.get("backupbot.backup", "").lower() != "true":
            return 0
        return 1 if "backupbot.backup.path" in self.labels else 2


def read_compose(text: str, file: str, values: Mapping[str, str]) -> ComposeFile:
    """Read one file and interpolate its text values.

    Raises:
        BadInputError: it is no compose file; the message names the line.
    """
    document = read_yaml(text, file)
    if not isinstance(document.data, dict):
        raise BadInputError("not a compose file: no mapping at its top", where=f"{file}:1")
    noting = _Noting(values)
    document.data = _interpolate(document, document.data, (), noting)
    return ComposeFile(document, frozenset(noting.asked))


class _Noting(dict[str, str]):
    """Values that note what they are asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def _interpolate(document: Document, data: Any, loc: Loc, values: Mapping[str, str]) -> Any:
    if isinstance(data, dict):
        return {k: _interpolate(document, v, (*loc, k), values) for k, v in data.items()}
    if isinstance(data, list):
        return [_interpolate(document, v, (*loc, i), values) for i, v in enumerate(data)]
    if isinstance(data, str):
        return interpolated(data, values, document.where(loc))
    return data


def pairs(data: object, where: str) -> dict[str, str]:
    """Read labels or variables, which are a mapping or a list of `key=value`.

    Raises:
        BadInputError: they are neither.
    """
    if data is None:
        return {}
    if isinstance(data, dict):
        return {str(key): _text(value) for key, value in data.items()}
    if isinstance(data, list):
        split = (str(one).partition("=") for one in data)
        return {key: value for key, _, value in split}
    raise BadInputError("neither a list nor a mapping", where=where)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def services(files: tuple[ComposeFile, ...]) -> tuple[Service, ...]:
    """Return the services that the files make together, by name; a later file adds and overrides.

    Raises:
        BadInputError: a part has the wrong form.
    """
    found: dict[str, list[tuple[ComposeFile, Loc, dict[str, Any]]]] = {}
    for file in files:
        for loc, name, part in file.section("services"):
            found.setdefault(name, []).append((file, loc, part))
    return tuple(_service(name, found[name]) for name in sorted(found))


def _service(name: str, parts: list[tuple[ComposeFile, Loc, dict[str, Any]]]) -> Service:
    labels: dict[str, str] = {}
    secrets: dict[str, None] = {}
    image, healthcheck = "", False
    for file, loc, part in parts:
        where = file.document.where((*loc, "deploy", "labels"))
        deploy = part.get("deploy") or {}
        labels |= pairs(deploy.get("labels") if isinstance(deploy, dict) else deploy, where)
        image = str(part.get("image") or image)
        if "healthcheck" in part:
            healthcheck = _has_check(part["healthcheck"])
        for secret in _list(file, (*loc, "secrets"), part.get("secrets")):
            secrets[_source(secret)] = None
    return Service(name, image, labels, healthcheck, tuple(secrets))


def _list(file: ComposeFile, loc: Loc, part: object) -> list[Any]:
    if part is not None and not isinstance(part, list):
        raise BadInputError(f"{loc[-1]} is not a list", where=file.document.where(loc))
    return part or []


def _has_check(part: object) -> bool:
    return isinstance(part, dict) and bool(part.get("test")) and not switches_check_off(part)


def switches_check_off(part: object) -> bool:
    """Return whether a `healthcheck` says that there is none, also none of the image."""
    if not isinstance(part, dict):
        return False
    test = part.get("test")
    first = test[0] if isinstance(test, list) and test else test
    return first == "NONE" or str(part.get("disable")).lower() not in ("none", "false", "no", "off")


def _source(secret: object) -> str:
    return str(secret.get("source", "")) if isinstance(secret, dict) else str(secret)


def swarm_name(loc: Loc, part: Mapping[str, Any]) -> str | None:
    """Return the name that a secret, config, volume or network is given on the swarm.

    None where Docker names it after the stack. An external one without a name has that of its key.
    """
    external = part.get("external")
    nested = external.get("name") if isinstance(external, dict) else None
    name = part.get("name") or nested or (loc[-1] if external else None)
    return None if name is None else str(name)


def external_names(files: tuple[ComposeFile, ...], section: str) -> dict[str, str]:
    """Return the external secrets, configs or networks: key to the name on the swarm."""
    names = {}
    for file in files:
        for loc, key, part in file.section(section):
            if part.get("external"):
                names[key] = swarm_name(loc, part) or key
    return names
