"""Creation of a new instance: all of it, or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agency.clock import Clock
from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.instance.jinja import fill
from agency.instance.load import (
    GENERATED,
    INSTANCE_FILE,
    LoadedInstance,
    load_instance,
    parse_instance,
)
from agency.instance.making.flake import write_flake
from agency.instance.needs import required_secrets
from agency.instance.preview import note_unwritten
from agency.instance.problems import InstanceError
from agency.instance.render import write_rendered
from agency.secrets import (
    AgeKey,
    SecretClass,
    SecretSpec,
    generate,
    key_exists,
    new_key,
    sops,
    store_key,
    today_of,
)
from agency.yaml_source import read_source

_GITIGNORE = b"# Private keys never belong in git.\n*.key\n*.age\n"


@dataclass(frozen=True, slots=True)
class InstanceOptions:
    """Options of a new instance; each value is valid alone.

    `agents` maps names to roles; `recipients` maps owners to the public keys that can decrypt
    besides the new key, which belongs to `key_owner`.
    """

    name: str
    domain: str
    operators: tuple[str, ...]
    agents: Mapping[str, str]
    services: tuple[str, ...] = ()
    recipients: Mapping[str, str] = field(default_factory=dict)
    key_owner: str = "operator"
    preview: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """Result of a creation, with the secrets that an operator must or may still supply."""

    root: Path
    age_key_file: Path
    recipient: str
    generated: tuple[str, ...]
    missing: tuple[SecretSpec, ...]
    optional: tuple[SecretSpec, ...]


def instance_yaml(options: InstanceOptions, recipient: str) -> bytes:
    """Render the instance.yaml for options, with comments, as a person would write it."""
    recipients = {options.key_owner: recipient, **options.recipients}
    return fill(
        "instance.yaml.j2",
        name=options.name,
        domain=options.domain,
        operators=options.operators,
        services=tuple(dict.fromkeys(["matrix", *options.services])),
        agents=tuple(options.agents.items()),
        recipients=tuple(recipients.items()),
        preview=options.preview,
    )


def create_instance(root: Path, options: InstanceOptions, age_key_file: Path) -> Created:
    """Make the instance `root` with an age key at `age_key_file`.

    The files are written to a directory beside `root`, which is renamed to `root` last. The key
    is written just before that, and removed if the rename fails.

    Raises:
        BadInputError: `root` or the key file exists.
        InstanceError: options conflict, or the program of a feature is not written yet.
        PrerequisiteError: sops or age is missing, or a file cannot be written.
    """
    root, age_key_file = root.absolute(), age_key_file.absolute()
    _refuse_to_overwrite(root, age_key_file)
    sops.find_sops()
    key = new_key()
    content = instance_yaml(options, key.recipient)
    source = read_source(str(root / INSTANCE_FILE), content)
    instance = parse_instance(source)
    if instance is not None:
        note_unwritten(source, instance)
    if instance is None or source.problems:
        raise InstanceError(source.problems)
    fresh: Path | None = None
    try:
        fresh = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}.new."))
        loaded, internal = _fill_directory(fresh, content)
        _publish(fresh, root, key, age_key_file)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot make the instance: {error.strerror or error}",
            where=str(root),
            hint="check the permissions and the free space of that place; nothing was made",
        ) from error
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
    brought = [s for s in required_secrets(loaded.instance) if s.cls is SecretClass.A1]
    return Created(
        root,
        age_key_file,
        key.recipient,
        internal,
        missing=tuple(spec for spec in brought if not spec.optional),
        optional=tuple(spec for spec in brought if spec.optional),
    )


def _refuse_to_overwrite(root: Path, age_key_file: Path) -> None:
    if root.is_symlink() or (root.exists() and not (root.is_dir() and not any(root.iterdir()))):
        raise BadInputError(
            "exists and is not an empty directory; nothing is overwritten",
            where=str(root),
            hint="name a directory that does not exist",
        )
    if not root.parent.is_dir():
        raise PrerequisiteError(
            "the directory to make the instance in does not exist",
            where=str(root.parent),
            hint=f"`mkdir -p {root.parent}` first",
        )
    if age_key_file.exists() or age_key_file.is_symlink():
        raise key_exists(age_key_file)
    if age_key_file.is_relative_to(root):
        raise BadInputError(
            "the private age key must not lie in the instance, which goes into git",
            where=str(age_key_file),
            hint="name another place with --age-key",
        )


def _fill_directory(fresh: Path, content: bytes) -> tuple[LoadedInstance, tuple[str, ...]]:
    """Write everything but the key; returns the names of the generated secrets."""
    (fresh / INSTANCE_FILE).write_bytes(content)
    (fresh / ".gitignore").write_bytes(_GITIGNORE)
    write_flake(fresh)
    loaded = load_instance(fresh)
    write_rendered(loaded)
    (fresh / sops.CONFIG_FILE).symlink_to(f"{GENERATED}/sops.yaml")
    values = {
        spec.name: generate(spec.generator)
        for spec in required_secrets(loaded.instance)
        if spec.cls is SecretClass.A2
    }
    today = today_of(Clock().wall()).date().isoformat()
    encrypted = sops.encrypt(
        values,
        loaded.instance.secrets.recipients.values(),
        changed=dict.fromkeys(values, today),
    )
    target = fresh / sops.SECRETS_FILE
    target.parent.mkdir()
    target.write_bytes(encrypted)
    load_instance(fresh)  # now with the recipients of the encrypted file
    return loaded, tuple(values)


def _publish(fresh: Path, root: Path, key: AgeKey, age_key_file: Path) -> None:
    store_key(key, age_key_file)
    try:
        fresh.chmod(0o755)
        # Replaces an empty directory, and fails on one that got a file in the meantime.
        fresh.rename(root)
    except BaseException:
        if not _same_key(root, key):
            age_key_file.unlink(missing_ok=True)
        raise


def _same_key(root: Path, key: AgeKey) -> bool:
    """Return whether the instance at `root` is the new one; its key must then be kept."""
    try:
        return key.recipient in sops.recipients_in_file(root / sops.SECRETS_FILE)
    except AgencyError:
        return False
