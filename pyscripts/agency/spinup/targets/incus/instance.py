"""The instance of one run in a guest: the given one, with secrets and an age key of its own."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import yaml

from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.instance import (
    INSTANCE_FILE,
    LoadedInstance,
    load_instance,
    required_secrets,
    write_rendered,
)
from agency.secrets import AgeKey, Entropy, SecretClass, generate, sops

_RECIPIENT = "run"


def make_run_instance(
    given: LoadedInstance, root: Path, key: AgeKey, *, entropy: Entropy = secrets.token_bytes
) -> LoadedInstance:
    """Write an instance that says what `given` says and whose secrets only `key` opens.

    Every internal secret is new: nothing that guards a real machine goes into a throwaway one.
    External inputs are left out.

    Raises:
        PrerequisiteError: sops is not installed, or the place cannot be written.
        InstanceError: `given` has changed since it was loaded, and is wrong now.
    """
    document: dict[str, Any] = yaml.safe_load(given.path.read_bytes())
    document["secrets"] = {"provider": "sops", "recipients": {_RECIPIENT: key.recipient}}
    content = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    try:
        root.mkdir(mode=0o700, parents=True)
        write_atomically(root / INSTANCE_FILE, content)
        loaded = load_instance(root, check_recipients=False)
        values = {
            spec.name: generate(spec.generator, entropy)
            for spec in required_secrets(loaded.instance)
            if spec.cls is SecretClass.A2
        }
        (root / sops.SECRETS_FILE).parent.mkdir()
        write_atomically(root / sops.SECRETS_FILE, sops.encrypt(values, [key.recipient]))
        write_rendered(loaded)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot write the run's instance: {error.strerror or error}", where=str(root)
        ) from error
    return load_instance(root)
