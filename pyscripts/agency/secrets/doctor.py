"""Examining an instance's secrets: what is missing, left over, or cannot be decrypted."""

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
    """What is the matter with an instance's secrets.

    `missing` blocks; `optional` does not. `superfluous` and `unusable` are names; `decrypt_error`
    says why this machine cannot decrypt, and is None when it can or was not asked to.
    """

    provider: str
    missing: tuple[SecretSpec, ...] = ()
    optional: tuple[SecretSpec, ...] = ()
    superfluous: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    decrypt_error: AgencyError | None = None

    @property
    def bad(self) -> bool:
        """Whether something is wrong with the instance itself, not with this machine."""
        changed = self.decrypt_error is not None and not self.lacks_key
        return bool(self.missing or self.unusable) or changed

    @property
    def lacks_key(self) -> bool:
        """Whether this machine cannot decrypt for want of a key or a program."""
        return isinstance(self.decrypt_error, PrerequisiteError)


def diagnose(
    specs: Collection[SecretSpec], file: Path | None, age_key_file: Path | None
) -> Diagnosis:
    """Examine the secrets of an instance that needs `specs`.

    `file` is its encrypted file, None where the provider is ephemeral; `age_key_file` is that of
    this machine.

    Raises:
        BadInputError: the encrypted file is not there or no sops file.
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
    """What to do about a missing secret, and where it goes."""
    edit = f"`sops edit {root / sops.SECRETS_FILE}`, under the key {spec.name}"
    if spec.cls is SecretClass.A1:
        return f"{spec.instructions}; put it in by {edit}"
    return f"it is an internal secret: `agency secrets generate {root}` makes it"
