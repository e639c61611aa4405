"""pipeline-secrets: secrets of the repository that has the pipeline, put there by the engine's API.

No engine shows a secret's value again, but each lists the names. So beside every secret NAME there
is a second one whose name ends in a digest of the value, keyed by the engine's token: what is there
is seen, and nothing of the value can be tried out from it. A value that somebody replaced under its
own name alone is not seen.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field

from agency.errors import BadInputError
from agency.recipes.configuration import DEFAULT, read_config
from agency.recipes.engine.remote.making import make_remote
from agency.reconcile import ABSENT, Change, Settings
from agency.secrets import SecretValue, read_credential

_DIGITS = 16
_MARK = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)_AT_[0-9A-F]{16}")
_NOTHING = SecretValue("-")  # the value of a mark: engines keep none that is empty


def _no_mark(name: str) -> str:
    if _MARK.fullmatch(name):
        raise ValueError("a name of this form marks the value of another secret")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,60}$"), AfterValidator(_no_mark)]
Credential = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]


class PipelineSecretsSettings(Settings):
    """Declared state: by its name at the engine, the credential that has the value."""

    secrets: dict[Name, Credential] = Field(default={}, max_length=50)
    recipes: Path = DEFAULT


SETTINGS = PipelineSecretsSettings


class SecretsOfEngine(Protocol):
    """Part of an engine that keeps secrets for the pipeline's repository."""

    async def secret_names(self) -> frozenset[str]:
        """List the names of the repository's secrets."""

    async def put_secret(self, name: str, value: SecretValue) -> None:
        """Keep a secret, in place of one of that name."""

    async def remove_secret(self, name: str) -> None:
        """Remove a secret; one that is not there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretChange(Change):
    """One change: of the secret `name` with its `mark`, or the removal of `removed`.

    `former` are the marks of the name that are there.
    """

    name: str = ""
    mark: str = ""
    former: tuple[str, ...] = ()
    removed: str = ""


@dataclass(frozen=True, slots=True)
class PipelineSecrets:
    """Reconciler of the secrets; `values` are by name, `marks` the names that say so."""

    engine: SecretsOfEngine
    values: Mapping[str, SecretValue]
    marks: Mapping[str, str]
    token: SecretValue

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the engine's token and every value."""
        return (self.token, *self.values.values())

    async def observe(self) -> frozenset[str]:
        """Read the names that are there."""
        return await self.engine.secret_names()

    def plan(self, observed: frozenset[str]) -> tuple[SecretChange, ...]:
        """List the differences."""
        return plan(self.marks, observed)

    async def apply(self, change: SecretChange) -> None:
        """Make one change."""
        if change.removed:
            await self.engine.remove_secret(change.removed)
            return
        # No mark while the value is not sure, also none of a value that may come back; its own
        # last: where it is, the value is.
        for former in change.former:
            await self.engine.remove_secret(former)
        await self.engine.put_secret(change.name, self.values[change.name])
        await self.engine.put_secret(change.mark, _NOTHING)


def mark_of(name: str, value: SecretValue, token: SecretValue, repository: str) -> str:
    """Return the name of the mark of a secret's value."""
    told = "\0".join((repository, name, value.reveal())).encode()
    digest = hmac.new(token.reveal().encode(), told, hashlib.sha256).hexdigest()
    return f"{name}_AT_{digest[:_DIGITS].upper()}"


def plan(marks: Mapping[str, str], there: frozenset[str]) -> tuple[SecretChange, ...]:
    """List the differences. Pure. A secret without a mark that nobody declares is not ours."""
    changes = []
    found = _marks_in(there)
    for name, mark in marks.items():
        former = found.pop(name, ())
        if name not in there or former != (mark,):
            before = ABSENT if name not in there else "another value"
            changes.append(
                SecretChange(
                    part=f"secret {name}",
                    what="value",
                    before=before,
                    after="put",
                    name=name,
                    mark=mark,
                    former=former,
                )
            )
    for name, left in found.items():
        names = (name, *left) if name in there else left
        changes += [_removal(name, one) for one in names]
    return tuple(changes)


def _marks_in(there: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Return the marks that are there, by the secret that they are of."""
    found: dict[str, tuple[str, ...]] = {}
    for known in filter(None, map(_MARK.fullmatch, sorted(there))):
        found[known["name"]] = (*found.get(known["name"], ()), known[0])
    return found


def _removal(name: str, removed: str) -> SecretChange:
    what = "secret" if removed == name else "mark of its value"
    return SecretChange(
        part=f"secret {name}", what=what, before="there", after="removed", removed=removed
    )


@asynccontextmanager
async def opened(settings: PipelineSecretsSettings) -> AsyncIterator[PipelineSecrets]:
    """Open the reconciler, with the engine's token and a credential for each secret.

    Raises:
        BadInputError: the machine's own engine has no pipeline, so none that needs a secret.
    """
    config = read_config(settings.recipes)
    if config.engine_at is None:
        raise BadInputError("its engine has no pipeline", where=f"{settings.recipes}: engineAt")
    token = read_credential(config.engine_at.credential)
    values = {name: read_credential(one) for name, one in settings.secrets.items()}
    repository = config.engine_at.repository
    marks = {name: mark_of(name, one, token, repository) for name, one in values.items()}
    engine = make_remote(config, lambda: None)
    try:
        yield PipelineSecrets(engine, values, marks, token)
    finally:
        await engine.close()
