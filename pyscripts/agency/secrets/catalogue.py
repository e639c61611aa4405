"""The catalogue of secrets: `secrets/catalogue.json`, read and checked.

The file is the one place for the facts of a secret. Nix reads it too (modules/lib/catalogue.nix),
and docs/secrets.md is rendered from it. A checkout has it in `secrets/` at the top; the wheel
carries it in this package, where setup.py puts it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from agency.errors import InternalError, PrerequisiteError
from agency.secrets.classes import Generator, SecretClass, SecretSpec
from agency.source_digest import source_root

CATALOGUE = "secrets/catalogue.json"  # below the checkout, and below the package in a wheel
MAX_BYTES = 1024 * 1024

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_IN_NAMES = frozenset({"agent", "engine", "provider"})
_IN_TEXTS = _IN_NAMES | {"domains"}


def _one_placeholder_at_most(name: str) -> str:
    found = _PLACEHOLDER.findall(name)
    if len(found) > 1 or not _IN_NAMES.issuperset(found):
        raise ValueError("has at most one placeholder, {agent}, {engine} or {provider}")
    return name


Name = Annotated[
    str,
    StringConstraints(pattern=r"^(\{[a-z]+\}|[a-z0-9])(\{[a-z]+\}|[a-z0-9-])*$"),
    AfterValidator(_one_placeholder_at_most),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Unit = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.@{}-]{1,200}\.service$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rotation(_Section):
    """Rotation of a secret: `days` between rotations, None for "only when it is exposed".

    `procedure` names one of the catalogue's procedures; `note` adds what is special to this secret.
    """

    days: int | None = Field(ge=1, le=3650)
    procedure: str
    note: Text | None = None
    costs: Text


class ForeignForge(_Section):
    """Fields that differ when the forge is not the instance's own."""

    cls: SecretClass = Field(alias="class")
    generator: Generator
    instructions: Text
    procedure: str


class Entry(_Section):
    """One secret, or one for each agent or CI engine where its name has a placeholder.

    `reader` is whoever reads a secret that no unit does.
    """

    cls: SecretClass = Field(alias="class")
    description: Text
    form: str
    generator: Generator
    owner: str = Field(pattern=r"^[a-z_][a-z0-9_-]*$")
    mode: str
    consumers: tuple[Unit, ...]
    restarts: tuple[Unit, ...]
    reader: Text | None = None
    rotation: Rotation
    instructions: Text | None = None
    optional: bool = False
    foreign_forge: ForeignForge | None = Field(default=None, alias="foreignForge")
    private_key: str = Field(default="", alias="privateKey")
    feature: str = Field(default="", pattern=r"^([a-z]+)?$")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        external = self.cls is SecretClass.A1
        if external != (self.generator is Generator.EXTERNAL):
            raise ValueError("class A1 and the generator external go together")
        if external != (self.instructions is not None):
            raise ValueError("class A1 and instructions go together")
        unread = sorted(set(self.restarts) - set(self.consumers))
        if unread:
            raise ValueError(f"restarts {unread[0]}, which is not among its consumers")
        if not self.consumers and self.reader is None and self.cls is not SecretClass.B:
            raise ValueError("has neither consumers nor a reader, which only class B may")
        return self


class Catalogue(_Section):
    """Every secret that an instance of the agency can have, and the words that describe them."""

    classes: dict[SecretClass, Text]
    modes: tuple[str, ...]
    forms: dict[str, Text]
    procedures: dict[str, Text]
    secrets: dict[Name, Entry]

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        if set(self.classes) != set(SecretClass):
            raise ValueError(f"classes must describe {', '.join(SecretClass)}")
        for name, entry in self.secrets.items():
            if entry.private_key and entry.private_key not in self.secrets:
                raise ValueError(f"secrets.{name}: there is no secret {entry.private_key!r}")
            procedures = {entry.rotation.procedure}
            if entry.foreign_forge is not None:
                procedures.add(entry.foreign_forge.procedure)
            for field, used, known in (
                ("form", {entry.form}, self.forms),
                ("mode", {entry.mode}, self.modes),
                ("procedure", procedures, self.procedures),
            ):
                unknown = sorted(used.difference(known))
                if unknown:
                    raise ValueError(f"secrets.{name}: there is no {field} {unknown[0]!r}")
            allowed = frozenset(_PLACEHOLDER.findall(name)) | (_IN_TEXTS - _IN_NAMES)
            strange = sorted(set(_PLACEHOLDER.findall(_texts(entry))) - allowed)
            if strange:
                raise ValueError(f"secrets.{name}: nothing fills in {{{strange[0]}}}")
        return self

    def spec(self, name: str, *, own_forge: bool = True, **values: str) -> SecretSpec:
        """Return the specification of one secret; `values` fill the placeholders of its entry.

        Raises:
            InternalError: there is no such secret, or a placeholder has no value.
        """
        entry = self.secrets.get(name)
        if entry is None:
            raise InternalError(f"the catalogue has no secret {name!r}", where=CATALOGUE)
        forge = None if own_forge else entry.foreign_forge
        instructions = (entry if forge is None else forge).instructions
        procedure = entry.rotation.procedure if forge is None else forge.procedure
        return SecretSpec(
            name=_filled(name, values),
            cls=entry.cls if forge is None else forge.cls,
            description=_filled(entry.description, values),
            generator=entry.generator if forge is None else forge.generator,
            consumers=tuple(_filled(unit, values) for unit in entry.consumers),
            restarts=tuple(_filled(unit, values) for unit in entry.restarts),
            owner=entry.owner,
            mode=entry.mode,
            instructions=_filled(instructions or "", values),
            optional=entry.optional,
            form=entry.form,
            days=entry.rotation.days,
            procedure=procedure,
            how=self.procedures[procedure],
            note=_filled(entry.rotation.note or "", values),
            costs=_filled(entry.rotation.costs, values),
            private_key=entry.private_key,
            feature=entry.feature,
        )

    def of_features(self) -> tuple[str, ...]:
        """Return the entries of agents' secrets that a feature declared by a host may need."""
        return tuple(name for name, entry in self.secrets.items() if entry.feature)


def _texts(entry: Entry) -> str:
    told = entry.instructions or ""
    return " ".join((entry.description, told, *entry.consumers, *entry.restarts))


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InternalError(f"{text!r} needs a value for {match[1]!r}", where=CATALOGUE)
        return values[match[1]]

    return _PLACEHOLDER.sub(value, text)


def parse_catalogue(data: bytes) -> Catalogue:
    """Read a catalogue.

    Raises:
        ValueError: the data is not JSON, has a key twice, or is not a catalogue.
    """
    return Catalogue.model_validate(json.loads(data, object_pairs_hook=_once))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{double} is there twice")
    return found


def catalogue_file() -> Path:
    """Return the path of the catalogue: in the checkout, or in the installed package."""
    return source_root() / CATALOGUE


@cache
def load_catalogue() -> Catalogue:
    """Load this program's catalogue.

    Raises:
        PrerequisiteError: the file cannot be read, so the installation is incomplete.
        InternalError: the file is invalid.
    """
    file = catalogue_file()
    hint = "install the program again from its wheel, its Nix package or a whole checkout"
    try:
        with file.open("rb") as handle:
            return parse_catalogue(handle.read(MAX_BYTES))
    except OSError as error:
        reason = error.strerror or str(error)
        raise PrerequisiteError(f"cannot be read: {reason}", where=str(file), hint=hint) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InternalError(reason, where=str(file), hint=hint) from error
    except ValueError as error:
        raise InternalError(str(error), where=str(file), hint=hint) from error
