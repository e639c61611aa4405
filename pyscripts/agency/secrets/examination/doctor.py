"""Diagnosis of an instance's secrets: missing, unusable, overdue, impossible to decrypt."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError
from agency.secrets.classes import SecretClass, SecretSpec
from agency.secrets.encryption import sops
from agency.secrets.encryption.document import Document, Kind, read_document, stored_names
from agency.secrets.encryption.keys import KeySearch
from agency.secrets.examination.forms import Fault, faults
from agency.secrets.examination.history import History, read_history
from agency.secrets.providers import missing_in_file


@dataclass(frozen=True, slots=True)
class Overdue:
    """A secret whose rotation is overdue: the day of its last change, and its period."""

    spec: SecretSpec
    changed: date
    days: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Problems of an instance's secrets.

    `missing` secrets block; `optional` ones do not, nor do those `of_features` that only a host
    declares. `former` are recipients who can still open the data key. `decrypt_error` says why
    this machine cannot decrypt; None when it can, or need not.
    """

    provider: str
    missing: tuple[SecretSpec, ...] = ()
    optional: tuple[SecretSpec, ...] = ()
    of_features: tuple[SecretSpec, ...] = ()
    superfluous: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    overdue: tuple[Overdue, ...] = ()
    former: tuple[str, ...] = ()
    history_told: bool = False
    warnings: tuple[str, ...] = ()
    decrypt_error: AgencyError | None = None

    @property
    def unusable(self) -> tuple[str, ...]:
        """Names of the secrets whose values their readers cannot use."""
        return tuple(sorted({fault.name for fault in self.faults if fault.fatal}))

    @property
    def bad(self) -> bool:
        """True if the instance itself is at fault, not this machine."""
        changed = self.decrypt_error is not None and not self.lacks_key
        return bool(self.missing or self.unusable or self.former) or changed

    @property
    def lacks_key(self) -> bool:
        """True if this machine cannot decrypt because a key or a program is missing."""
        return isinstance(self.decrypt_error, PrerequisiteError)


def diagnose(
    specs: Collection[SecretSpec],
    file: Path | None,
    keys: KeySearch,
    *,
    now: datetime,
    possible: Collection[SecretSpec] = (),
    is_of_feature: Callable[[str], bool],
) -> Diagnosis:
    """Examine the secrets of an instance that needs `specs`.

    `file` is the encrypted file, None if the provider is ephemeral; `possible` are the secrets of
    features that only hosts declare, and `is_of_feature` knows the names of all such secrets.

    Raises:
        BadInputError: the encrypted file is missing or is not a sops file.
    """
    if file is None:
        brought = [spec for spec in specs if spec.cls is SecretClass.A1]
        return Diagnosis(
            "ephemeral",
            missing=tuple(spec for spec in brought if not spec.optional),
            optional=tuple(spec for spec in brought if spec.optional),
        )
    document = read_document(file)
    stored, history = stored_names(file, document), read_history(file, document)
    known = {spec.name: spec for spec in (*possible, *specs)}
    found = list(_by_kind(document))
    decrypt_error: AgencyError | None = None
    try:
        values = sops.decrypt(file, keys)
        found += faults(known, values, now)
    except AgencyError as error:
        # A value that is no text is told by name already, and keeps the others from being read.
        decrypt_error = None if found and document.named(Kind.NESTED, Kind.NOT_TEXT) else error
    return Diagnosis(
        "sops",
        missing=missing_in_file(specs, stored),
        optional=tuple(spec for spec in specs if spec.optional and spec.name not in stored),
        of_features=tuple(spec for spec in possible if spec.name not in stored),
        superfluous=tuple(sorted(name for name in stored - set(known) if not is_of_feature(name))),
        faults=tuple(found),
        overdue=_overdue(known, document, history, now.date()),
        former=tuple(sorted(history.former)),
        history_told=history.told,
        warnings=keys.warnings() if decrypt_error is None else (),
        decrypt_error=decrypt_error,
    )


def _by_kind(document: Document) -> list[Fault]:
    """Find the faults that need no key to see. Empty values are told as missing ones."""
    told = {
        Kind.NESTED: "is a mapping or a list; a secret is one text",
        Kind.NOT_TEXT: "is a number, a date or a boolean; a secret is text",
    }
    return [Fault(name, told[kind]) for name, kind in document.kinds().items() if kind in told]


def _overdue(
    known: Mapping[str, SecretSpec], document: Document, history: History, today: date
) -> tuple[Overdue, ...]:
    """Find the stored secrets whose last change is longer ago than their period.

    The file records the day of a change by our commands; without that, the value is at least as
    old as its line is in git's history.
    """
    since, found = dict(history.since), []
    for name in sorted(document.values):
        spec, changed = known.get(name), since.get(name)
        if name in document.changed:
            with contextlib.suppress(ValueError):  # of a date that a person wrote, git's day counts
                changed = date.fromisoformat(document.changed[name])
        if spec is None or spec.days is None or changed is None:
            continue
        if (today - changed).days > spec.days:
            found.append(Overdue(spec, changed, spec.days))
    return tuple(found)


def remedy(spec: SecretSpec, root: Path) -> str:
    """Say how to supply a missing secret, and where it goes."""
    where = shlex.quote(str(root))
    if spec.cls is SecretClass.A1:
        return f"{spec.instructions}; put it in by `{set_command(spec.name, root)}`"
    if spec.feature:
        return f"`agency secrets rotate {spec.name} --instance {where}` makes it"
    return f"it is an internal secret: `agency secrets generate {where}` makes it"


def set_command(name: str, root: Path) -> str:
    """Return the command that sets one secret, whole."""
    return f"agency secrets set {name} --instance {shlex.quote(str(root))}"
