"""Loader of an instance: reports all problems at once, each with file, line and field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from agency.canonical import sha256_hex
from agency.instance.conflicts import PEOPLE, Conflict, Person, conflicts, of_forges
from agency.instance.fields.ci import CiService, ForeignForge
from agency.instance.fields.programs import Models
from agency.instance.fields.values import Domain, MatrixId
from agency.instance.model import (
    Agent,
    Approvals,
    Instance,
    MatrixService,
    Toggle,
)
from agency.instance.problems import InstanceError, Problem, field_name
from agency.instance.reading.explain import explain
from agency.instance.reading.recipients import disagreements
from agency.yaml_source import MAX_BYTES, Source, read_source

INSTANCE_FILE = "instance.yaml"
GENERATED = "generated"
IF_EMPTY = "`agency init` makes an instance"

Part = TypeVar("Part", bound=BaseModel | str)


@dataclass(frozen=True, slots=True)
class LoadedInstance:
    """An instance and its origin; `digest` is the SHA-256 of instance.yaml in hex."""

    instance: Instance
    path: Path
    root: Path
    digest: str

    @property
    def generated(self) -> Path:
        """The directory of the files rendered from the instance."""
        return self.root / GENERATED


def instance_file(path: Path) -> Path:
    """Return the path of instance.yaml; `path` is its directory or the file itself."""
    return path / INSTANCE_FILE if path.is_dir() else path


def load_instance(path: Path, *, check_recipients: bool = True) -> LoadedInstance:
    """Read, validate and cross-check an instance.

    With `check_recipients`, the recipients in instance.yaml, `.sops.yaml` and the encrypted file
    must be the same; no key is needed for that. `agency render` skips the check, because it is
    the command that updates `.sops.yaml`.

    Raises:
        InstanceError: the instance is invalid; the error lists every problem.
    """
    file = instance_file(path)
    content = _read(file)
    source = read_source(str(file), content, if_empty=IF_EMPTY)
    instance = parse_instance(source)
    root = file.parent
    if instance is not None and check_recipients:
        source.problems += disagreements(instance, root, source)
    if instance is None or source.problems:
        raise InstanceError(sorted(source.problems, key=_order))
    return LoadedInstance(instance, file, root, sha256_hex(content))


def _order(problem: Problem) -> tuple[str, int]:
    return (problem.file, problem.line or 0)


def _read(file: Path) -> bytes:
    if file.exists() and not file.is_file():
        # Opening a pipe would wait for a writer.
        raise InstanceError([Problem(str(file), None, "", "is not a regular file")])
    try:
        with file.open("rb") as handle:
            return handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        what = "there is no such file; `agency init DIR` makes an instance"
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
    raise InstanceError([Problem(str(file), None, "", what)])


def parse_instance(source: Source) -> Instance | None:
    """Validate a document; problems are added to `source.problems`."""
    if source.data is None:
        return None
    instance: Instance | None = None
    try:
        # By alias only: the file may say `maxTests`, not `max_tests`.
        instance = Instance.model_validate(source.data, by_alias=True, by_name=False)
    except ValidationError as failure:
        known = {problem.field for problem in source.problems}
        for error in failure.errors(include_url=False):
            loc, message = explain(source, error)
            # An error without location is a conflict; `conflicts` reports it with its line.
            if loc and field_name(loc) not in known:
                source.add(loc, message)
    for loc, message in _conflicts_in(source.data):
        source.add(loc, message)
    return instance


def _conflicts_in(data: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find conflicts between the valid parts, even if other parts are invalid."""
    named = data.get("agents")
    people = [
        Person((name, index), who)
        for name in PEOPLE
        for index, raw in enumerate(_listed(data.get(name)))
        if (who := _valid(TypeAdapter[str](MatrixId), raw)) is not None
    ]
    agents = {
        name: agent
        for name, raw in (named.items() if isinstance(named, dict) else ())
        if (agent := _valid(TypeAdapter(Agent), raw)) is not None
    }
    services = data.get("services")
    raw = services.get("matrix", {}) if isinstance(services, dict) else {}
    matrix = _valid(TypeAdapter(MatrixService), raw)
    approvals = _valid(TypeAdapter(Approvals), data.get("approvals", {}))
    yield from conflicts(
        _valid(TypeAdapter[str](Domain), data.get("domain")),
        people,
        agents,
        {} if approvals is None else approvals.rules,
        reachable=matrix is None or matrix.reaches_others,
        solo=approvals is not None and approvals.solo_delay is not None,
        # One that is there and wrong is told at its own line.
        image=data.get("docker") is not None,
        models=_offered(data.get("models")),
    )
    yield from _forges_in(data.get("forge"), services if isinstance(services, dict) else {})


def _forges_in(raw: object, services: dict[str, Any]) -> tuple[Conflict, ...]:
    """Find conflicts of the forge with the services; a part that is wrong counts as left out."""
    forge = _valid(TypeAdapter(ForeignForge), raw)
    gitlab = _valid(TypeAdapter(Toggle), services.get("gitlab", {}))
    ci = _valid(TypeAdapter(CiService), services.get("ci", {}))
    return of_forges(
        own=gitlab is not None and gitlab.enable,
        kind=None if forge is None else forge.kind,
        engine="builtin" if ci is None or not ci.enable else ci.engine,
    )


def _offered(raw: object) -> tuple[str, ...] | None:
    """Name the models that are offered; None if that section is wrong."""
    found = None if raw is None else _valid(TypeAdapter(Models), raw)
    return () if raw is None else None if found is None else tuple(found.offered)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _valid(adapter: TypeAdapter[Part], raw: object) -> Part | None:
    try:
        return adapter.validate_python(raw, strict=True)
    except ValidationError:
        return None
