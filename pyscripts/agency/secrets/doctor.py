"""Diagnosis of an instance's secrets: missing, superfluous, unusable, impossible to decrypt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError
from agency.secrets.classes import SecretClass, SecretSpec
from agency.secrets.encryption import sops
from agency.secrets.providers import missing_in_file
from agency.secrets.redact import MIN_LENGTH


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Problems of an instance's secrets.

    `missing` secrets block; `optional` ones do not. `superfluous` and `unusable` are names.
    `decrypt_error` says why this machine cannot decrypt; None when it can, or need not.
    """

    provider: str
    missing: tuple[SecretSpec, ...] = ()
    optional: tuple[SecretSpec, ...] = ()
    superfluous: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    decrypt_error: AgencyError | None = None

    @property
    def bad(self) -> bool:
        """True if the instance itself is at fault, not this machine."""
        changed = self.decrypt_error is not None and not self.lacks_key
        return bool(self.missing or self.unusable) or changed

    @property
    def lacks_key(self) -> bool:
        """True if this machine cannot decrypt because a key or a program is missing."""
        return isinstance(self.decrypt_error, PrerequisiteError)


def diagnose(
    specs: Collection[SecretSpec], file: Path | None, age_key_file: Path | None
) -> Diagnosis:
    """Examine the secrets of an instance that needs `specs`.

    `file` is the encrypted file, None if the provider is ephemeral; `age_key_file` is this
    machine's key file.

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
    stored = sops.names_in_file(file)
    unusable: tuple[str, ...] = ()
    decrypt_error: AgencyError | None = None
    try:
        values = sops.decrypt(file, age_key_file)
        short = (name for name, v in values.items() if len(v.reveal().strip()) < MIN_LENGTH)
        unusable = tuple(sorted(short))
    except AgencyError as error:
        decrypt_error = error
    return Diagnosis(
        "sops",
        missing=missing_in_file(specs, stored),
        optional=tuple(spec for spec in specs if spec.optional and spec.name not in stored),
        superfluous=tuple(sorted(stored - {spec.name for spec in specs})),
        unusable=unusable,
        decrypt_error=decrypt_error,
    )


def remedy(spec: SecretSpec, root: Path) -> str:
    """Say how to supply a missing secret, and where it goes."""
    edit = f"`sops edit {root / sops.SECRETS_FILE}`, under the key {spec.name}"
    if spec.cls is SecretClass.A1:
        return f"{spec.instructions}; put it in by {edit}"
    return f"it is an internal secret: `agency secrets generate {root}` makes it"
