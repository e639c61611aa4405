"""Creation of a new instance: all of it, or nothing."""

from __future__ import annotations

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
from agency.instance.making.place import LINES, Place, refuse_to_overwrite
from agency.instance.needs import required_secrets
from agency.instance.problems import InstanceError
from agency.instance.reading.dependencies import Dependency, note_dependencies
from agency.instance.render import SCHEMA_FILE, write_rendered
from agency.secrets import (
    AgeKey,
    SecretClass,
    SecretSpec,
    generate,
    key_exists,
    new_key,
    sops,
    store_key,
)
from agency.yaml_source import read_source


@dataclass(frozen=True, slots=True)
class InstanceOptions:
    """Options of a new instance; each value is valid alone.

    `agents` maps names to roles; `recipients` maps owners to the public keys that can decrypt
    besides the new key, which belongs to `key_owner`; `added` are the reasons of those services
    that were not chosen. With `solo_delay` the only person approves what they asked for, after so
    many seconds.
    """

    name: str
    domain: str
    operators: tuple[str, ...]
    agents: Mapping[str, str]
    services: tuple[str, ...] = ()
    recipients: Mapping[str, str] = field(default_factory=dict)
    key_owner: str = "operator"
    preview: tuple[str, ...] = ()
    federation: bool = False
    added: tuple[Dependency, ...] = ()
    approvers: tuple[str, ...] = ()
    solo_delay: int | None = None

    @property
    def nobody_approves(self) -> bool:
        """Return whether what needs an approval could never run."""
        deciding = {*self.operators, *self.approvers}
        return len(deciding) < 2 and self.solo_delay is None


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
        approvers=options.approvers,
        solo_delay=options.solo_delay,
        services=tuple(dict.fromkeys(["matrix", *options.services])),
        agents=tuple(options.agents.items()),
        recipients=tuple(recipients.items()),
        preview=options.preview,
        federation=options.federation,
        schema=f"{GENERATED}/{SCHEMA_FILE}",
    )


def create_instance(root: Path, options: InstanceOptions, age_key_file: Path) -> Created:
    """Make the instance `root` with an age key at `age_key_file`.

    All is made in a directory of its own, and put in its place last. The key is written just
    before that, and removed if it fails. Options are completed before (`collect_options`).

    Raises:
        BadInputError: a file of the instance, or the key file, exists.
        InstanceError: options conflict, or the program of a feature is not written yet.
        PrerequisiteError: sops or age is missing, or a file cannot be written.
    """
    root, age_key_file = root.absolute(), age_key_file.absolute()
    refuse_to_overwrite(root)
    _refuse_key(root, age_key_file)
    sops.find_sops()
    key = new_key()
    content = instance_yaml(options, key.recipient)
    source = read_source(str(root / INSTANCE_FILE), content)
    instance = parse_instance(source)
    if instance is not None:
        note_dependencies(source, instance)
    if instance is None or source.problems:
        raise InstanceError(source.problems)
    place = Place(root)
    try:
        with place.staged() as fresh:
            loaded, internal = _fill_directory(fresh, content)
            _publish(place, fresh, key, age_key_file)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot make the instance: {error.strerror or error}",
            where=str(root),
            hint="check the permissions and the free space of that place; nothing was made",
        ) from error
    brought = [s for s in required_secrets(loaded.instance) if s.cls is SecretClass.A1]
    return Created(
        root,
        age_key_file,
        key.recipient,
        internal,
        missing=tuple(spec for spec in brought if not spec.optional),
        optional=tuple(spec for spec in brought if spec.optional),
    )


def _refuse_key(root: Path, age_key_file: Path) -> None:
    if age_key_file.exists() or age_key_file.is_symlink():
        raise key_exists(age_key_file)
    if age_key_file.resolve().is_relative_to(root.resolve()):
        raise BadInputError(
            "the private age key must not lie in the instance, which goes into git",
            where=str(age_key_file),
            hint="name another place with --age-key",
        )


def _fill_directory(fresh: Path, content: bytes) -> tuple[LoadedInstance, tuple[str, ...]]:
    """Write everything but the key; returns the names of the generated secrets."""
    (fresh / INSTANCE_FILE).write_bytes(content)
    for name, lines in LINES.items():
        (fresh / name).write_bytes(lines)
    write_flake(fresh)
    loaded = load_instance(fresh)
    write_rendered(loaded)
    (fresh / sops.CONFIG_FILE).symlink_to(f"{GENERATED}/sops.yaml")
    values = {
        spec.name: generate(spec.generator)
        for spec in required_secrets(loaded.instance)
        if spec.cls is SecretClass.A2
    }
    today = Clock().utc().date().isoformat()
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


def _publish(place: Place, fresh: Path, key: AgeKey, age_key_file: Path) -> None:
    store_key(key, age_key_file)
    try:
        place.publish(fresh)
    except BaseException:
        if not _same_key(place.root, key):
            age_key_file.unlink(missing_ok=True)
        raise


def _same_key(root: Path, key: AgeKey) -> bool:
    """Return whether the instance at `root` is the new one; its key must then be kept."""
    try:
        return key.recipient in sops.recipients_in_file(root / sops.SECRETS_FILE)
    except AgencyError:
        return False
