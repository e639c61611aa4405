"""Providers of an instance's secrets: ephemeral, or from its encrypted file."""

from __future__ import annotations

from pathlib import Path

from agency.instance.load import LoadedInstance
from agency.instance.needs import required_secrets
from agency.secrets import EphemeralProvider, SecretProvider, SopsProvider, key_places, sops


def open_provider(
    loaded: LoadedInstance,
    directory: Path,
    *,
    age_key_file: Path | None = None,
    kept: Path | None = None,
) -> SecretProvider:
    """Open the provider that the instance names; its files go below `directory`.

    Values that are generated for a run are the same for every provider with the file `kept`.
    """
    if loaded.instance.secrets.provider == "ephemeral":
        return EphemeralProvider(required_secrets(loaded.instance), directory, kept=kept)
    return sops_provider(loaded, age_key_file=age_key_file, directory=directory, kept=kept)


def sops_provider(
    loaded: LoadedInstance,
    *,
    age_key_file: Path | None = None,
    directory: Path | None = None,
    kept: Path | None = None,
) -> SopsProvider:
    """Open the encrypted file with `age_key_file`, or a key from the usual places."""
    return SopsProvider(
        required_secrets(loaded.instance),
        loaded.root / sops.SECRETS_FILE,
        key_places(loaded.instance.name, age_key_file),
        directory=directory,
        kept=kept,
    )
