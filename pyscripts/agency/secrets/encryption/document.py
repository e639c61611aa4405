"""Reader of an encrypted file and of a .sops.yaml, as far as that needs no key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from agency.errors import BadInputError
from agency.secrets.encryption.program import SECRETS_FILE, instance_of
from agency.yaml_source import Source, read_source

CONFIG_FILE = ".sops.yaml"
GENERATED_CONFIG = "generated/sops.yaml"
MAX_BYTES = 4 * 1024 * 1024
# Dates of the last change of each secret. sops leaves the values of such a key readable, and its
# MAC covers them.
RECORD = "changed_unencrypted"


class Kind(StrEnum):
    """Kind of a value in an encrypted file."""

    TEXT = "text"
    NOT_TEXT = "a number, a date or a boolean"
    EMPTY = "empty"
    NESTED = "a mapping or a list"
    PLAIN = "not encrypted"


@dataclass(frozen=True, slots=True)
class Document:
    """An encrypted file: the value of each name as the file has it, and sops's metadata."""

    values: Mapping[str, Any]
    metadata: Mapping[str, Any]
    changed: Mapping[str, str]
    lines: Mapping[str, int | None]

    def kinds(self) -> dict[str, Kind]:
        """Return the kind of each value by its name."""
        return {name: _kind(value) for name, value in self.values.items()}

    def named(self, *kinds: Kind) -> tuple[str, ...]:
        """Return the names of the values of these kinds, in order."""
        return tuple(sorted(name for name, kind in self.kinds().items() if kind in kinds))

    def recipients(self) -> frozenset[str]:
        """Return the age public keys, and `kind:id` for keys of other kinds."""
        return frozenset(who for group in self.groups() for who in group)

    def groups(self) -> tuple[frozenset[str], ...]:
        """Return the recipients by key group; a file without groups has one."""
        found = [self.metadata, *_mappings(self.metadata.get("key_groups"))]
        return tuple(group for one in found if (group := frozenset(_recipients(one))))

    @property
    def groups_needed(self) -> int:
        """The number of key groups whose keys must come together to decrypt."""
        threshold = self.metadata.get("shamir_threshold")
        if isinstance(threshold, int) and threshold > 0:
            return threshold
        return max(1, len(_mappings(self.metadata.get("key_groups"))))


def _kind(value: object) -> Kind:
    if isinstance(value, (dict, list)):
        return Kind.NESTED
    # sops leaves an empty text as it is.
    if value is None or value == "":
        return Kind.EMPTY
    if not str(value).startswith("ENC["):
        return Kind.PLAIN
    return Kind.TEXT if str(value).endswith((",type:str]", ",type:bytes]")) else Kind.NOT_TEXT


def read_bytes(path: Path) -> bytes:
    """Read a file of secrets or a configuration, up to its limit and one byte."""
    try:
        if path.exists() and not path.is_file():
            # Opening a pipe would wait for a writer.
            raise BadInputError("is not a regular file", where=str(path))
        with path.open("rb") as handle:
            return handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(
            f"cannot be read: {error.strerror or error}", where=str(path)
        ) from error


def _source(path: Path, content: bytes, *, conflict: str) -> Source:
    """Parse a file with every guard of the strict reader; the first fault is the error.

    `conflict` is the remedy of an unresolved merge.
    """
    source = read_source(str(path), content, max_bytes=MAX_BYTES)
    for problem in source.problems:
        where = str(path) if problem.line is None else f"{path}:{problem.line}"
        told = f"{problem.field}: {problem.message}" if problem.field else problem.message
        raise BadInputError(told, where=where, hint=conflict if "merge conflict" in told else None)
    return source


def parse(path: Path, content: bytes) -> Document:
    """Parse an encrypted file.

    Raises:
        BadInputError: it is not a sops file; the message quotes no value.
    """
    root = instance_of(path)
    take = f"`git -C {root} checkout --ours -- {SECRETS_FILE}`"
    conflict = f"take one side whole: {take}, then put in the other side's secrets again"
    source = _source(path, content, conflict=conflict)
    data = dict(source.data)
    metadata = data.pop("sops", None)
    if not isinstance(metadata, dict):
        raise BadInputError(
            "is not encrypted by sops",
            where=str(path),
            hint="its values are exposed if it was committed: make new ones; restore the encrypted "
            f"file: `git -C {root} checkout HEAD -- {SECRETS_FILE}`",
        )
    record = data.pop(RECORD, None)
    dates = record.items() if isinstance(record, dict) else ()
    return Document(
        data,
        metadata,
        {name: day for name, day in dates if isinstance(day, str)},
        {name: source.line((name,)) for name in data},
    )


def read_document(path: Path) -> Document:
    """Read an encrypted file; needs no key.

    Raises:
        BadInputError: it cannot be read, or is not a sops file.
    """
    return parse(path, read_bytes(path))


def names_in_file(path: Path) -> frozenset[str]:
    """Return the names of the secrets with a value in an encrypted file; needs no key.

    Raises:
        BadInputError: the file is not a sops file, or a value in it is not encrypted.
    """
    return stored_names(path, read_document(path))


def stored_names(path: Path, document: Document) -> frozenset[str]:
    """Return the names of the secrets with a value in the document of a file.

    Raises:
        BadInputError: a value in it is not encrypted.
    """
    plain = document.named(Kind.PLAIN)
    if plain:
        line = document.lines[plain[0]]
        raise BadInputError(
            f"the values of {', '.join(plain)} are not encrypted",
            where=str(path) if line is None else f"{path}:{line}",
            hint="they have been exposed: make new ones by `agency secrets set NAME`",
        )
    return frozenset(document.values) - frozenset(document.named(Kind.EMPTY))


def recipients_in_file(path: Path) -> frozenset[str]:
    """Return the recipients of a file: age public keys, and `kind:id` for keys of other kinds.

    Raises:
        BadInputError: the file is not a sops file.
    """
    return read_document(path).recipients()


def recipients_in_config(path: Path) -> frozenset[str]:
    """Return the recipients that a .sops.yaml names, over all its rules.

    Raises:
        BadInputError: the file is not a sops configuration.
    """
    content = read_bytes(path)
    if content.strip() == GENERATED_CONFIG.encode():
        raise BadInputError(
            "holds the text of a link: git checked it out without symbolic links",
            where=str(path),
            hint=relink(path),
        )
    source = _source(path, content, conflict=relink(path))
    rules = source.data.get("creation_rules")
    if not isinstance(rules, list):
        raise BadInputError("has no creation_rules", where=str(path), hint=relink(path))
    groups = [
        group for rule in _mappings(rules) for group in (rule, *_mappings(rule.get("key_groups")))
    ]
    return frozenset(who for group in groups for who in _recipients(group))


def relink(config: Path) -> str:
    """Say how a .sops.yaml becomes the link to the rendered file, or a fresh copy of it."""
    rendered = config.parent / GENERATED_CONFIG
    return (
        f"`ln -sf {GENERATED_CONFIG} {config}`; where there are no symbolic links, "
        f"`cp {rendered} {config}` after each `agency render`"
    )


_KINDS = (
    "age",
    "pgp",
    "kms",
    "gcp_kms",
    "azure_kv",
    "hc_vault",
    "azure_keyvault",
    "hckms",
    "hc_vault_transit_uri",
)
_IDS = ("recipient", "fp", "arn", "resource_id", "vault_address", "vaultUrl", "key_id")


def _recipients(group: Mapping[str, Any]) -> Iterator[str]:
    for kind in _KINDS:
        entries = group.get(kind) or []
        for entry in entries.split(",") if isinstance(entries, str) else entries:
            if isinstance(entry, dict):
                found = next((str(entry[key]) for key in _IDS if key in entry), "unknown")
            else:
                found = str(entry).strip()
            if found:
                yield found if kind == "age" else f"{kind}:{found}"


def _mappings(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
