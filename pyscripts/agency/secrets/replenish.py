"""Generation of the internal secrets that an instance needs and does not have yet."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from agency.files import write_atomically
from agency.secrets.classes import SecretClass, SecretSpec
from agency.secrets.encryption import sops
from agency.secrets.generators import Entropy, generate
from agency.secrets.providers import missing_in_file


def generate_missing(
    specs: Iterable[SecretSpec],
    file: Path,
    recipients: Iterable[str],
    age_key_file: Path | None,
    *,
    entropy: Entropy = secrets.token_bytes,
) -> tuple[str, ...]:
    """Add the internal secrets (A2) of `specs` that `file` lacks; present values stay.

    `file` is encrypted again for `recipients`; if nothing is missing it is not written. Returns
    the generated names.

    Raises:
        BadInputError: there is no encrypted file.
        PrerequisiteError: this machine cannot decrypt, or the file cannot be written.
    """
    missing = missing_in_file(specs, sops.names_in_file(file))
    wanted = [spec for spec in missing if spec.cls is SecretClass.A2]
    if wanted:
        values = sops.decrypt(file, age_key_file)
        values |= {spec.name: generate(spec.generator, entropy) for spec in wanted}
        write_atomically(file, sops.encrypt(values, recipients))
    return tuple(spec.name for spec in wanted)
