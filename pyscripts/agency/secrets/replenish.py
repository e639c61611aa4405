"""Generating the internal secrets that an instance needs and does not have yet."""

from __future__ import annotations

import secrets
from pathlib import Path

from agency.errors import BadInputError
from agency.files import write_atomically
from agency.instance.load import LoadedInstance
from agency.secrets.classes import SecretClass, required_secrets
from agency.secrets.encryption import sops
from agency.secrets.generators import Entropy, generate
from agency.secrets.providers import missing_in_file


def generate_missing(
    loaded: LoadedInstance, age_key_file: Path | None, *, entropy: Entropy = secrets.token_bytes
) -> tuple[str, ...]:
    """Add the missing internal secrets (A2) to the encrypted file; what is there stays.

    Returns the names of those that were generated; with none missing nothing is written.

    Raises:
        BadInputError: the instance has no encrypted file.
        PrerequisiteError: this machine cannot decrypt, or the file cannot be written.
    """
    if loaded.instance.secrets.provider != "sops":
        raise BadInputError(
            "the provider ephemeral keeps no secrets: each run makes its own",
            where=str(loaded.path),
            hint="make a real instance by `agency init`",
        )
    path = loaded.root / sops.SECRETS_FILE
    missing = missing_in_file(required_secrets(loaded.instance), sops.names_in_file(path))
    wanted = [spec for spec in missing if spec.cls is SecretClass.A2]
    if wanted:
        values = sops.decrypt(path, age_key_file)
        values |= {spec.name: generate(spec.generator, entropy) for spec in wanted}
        write_atomically(path, sops.encrypt(values, loaded.instance.secrets.recipients.values()))
    return tuple(spec.name for spec in wanted)
