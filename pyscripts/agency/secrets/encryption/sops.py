"""Client of the program sops: encrypt, decrypt, list names and recipients.

Plain values go to sops by standard input, never by argv or a file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agency.errors import BadInputError, PrerequisiteError
from agency.programs import ProgramError, find_program, run_program
from agency.secrets.encryption.age import KEY_VARIABLE, public_keys
from agency.secrets.values import SecretValue

CONFIG_FILE = ".sops.yaml"
SECRETS_FILE = "secrets/secrets.yaml"
MAX_BYTES = 4 * 1024 * 1024
TIMEOUT_S = 30

SOPS_HINT = "install sops 3.9 or newer (it is in nixpkgs; or github.com/getsops/sops)"
# The loader in C where PyYAML has it; encrypted files are long.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _environment(age_key_file: Path | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    if age_key_file is not None:
        kept[KEY_VARIABLE] = str(age_key_file)
    return kept


def encrypt(values: Mapping[str, SecretValue], recipients: Iterable[str]) -> bytes:
    """Encrypt values for age recipients; returns a sops YAML file whose keys are readable.

    Raises:
        PrerequisiteError: sops is not installed.
        BadInputError: sops refused.
    """
    program = find_program("sops", hint=SOPS_HINT)
    plain = json.dumps({name: value.reveal() for name, value in values.items()}).encode()
    argv = [
        *(program, "encrypt", "--age", ",".join(sorted(recipients))),
        *("--input-type", "json", "--output-type", "yaml"),
        *("--filename-override", "secrets.yaml", "/dev/stdin"),
    ]
    # An empty directory: sops searches upwards for a .sops.yaml and must not find one.
    with tempfile.TemporaryDirectory(prefix="agency-sops-") as empty:
        try:
            return run_program(
                argv, timeout=TIMEOUT_S, stdin=plain, env=_environment(None), cwd=Path(empty)
            )
        except ProgramError:
            # Without the cause: sops may quote its input in its message.
            raise BadInputError(
                "sops could not encrypt", where="sops", hint="are the recipients age public keys?"
            ) from None


def decrypt(path: Path, age_key_file: Path | None) -> dict[str, SecretValue]:
    """Decrypt a file; return its values by name.

    Raises:
        PrerequisiteError: sops or the key is missing, or the key is not a recipient of the file.
        BadInputError: the file is not a sops file, was changed, or holds a value that is not text.
    """
    check = can_decrypt(path, age_key_file)
    if not check.ok:
        raise PrerequisiteError(check.reason, where=str(path), hint=check.hint)
    program = find_program("sops", hint=SOPS_HINT)
    argv = [program, "decrypt", "--output-type", "json", str(path.absolute())]
    try:
        output = run_program(argv, timeout=TIMEOUT_S, env=_environment(age_key_file))
    except ProgramError:
        raise BadInputError(
            "sops could not decrypt: the file was changed by something but sops",
            where=str(path),
            hint="restore it from git, and edit it by `sops edit` only",
        ) from None
    values = json.loads(output)
    wrong = sorted(name for name, value in values.items() if not isinstance(value, str))
    if wrong:
        raise BadInputError(
            f"the secrets {', '.join(wrong)} are not text",
            where=str(path),
            hint="put the values in quotes, by `sops edit`",
        )
    return {name: SecretValue(value) for name, value in values.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(
            f"cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    if len(content) > MAX_BYTES:
        raise BadInputError(f"is larger than {MAX_BYTES} bytes", where=str(path))
    try:
        data = yaml.load(content, Loader=_Loader)  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError, RecursionError):
        # Without the cause: a plain-text file of secrets may be quoted in it.
        raise BadInputError("is not YAML", where=str(path)) from None
    if not isinstance(data, dict):
        raise BadInputError("is not a mapping of keys to values", where=str(path))
    return data


def _metadata(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    data = _read_yaml(path)
    metadata = data.pop("sops", None)
    if not isinstance(metadata, dict):
        raise BadInputError(
            "is not encrypted by sops",
            where=str(path),
            hint="take its plain values out of git's history; encrypt it by `sops encrypt`",
        )
    return data, metadata


def names_in_file(path: Path) -> frozenset[str]:
    """Return the names of the secrets in an encrypted file; needs no key.

    Raises:
        BadInputError: the file is not a sops file, or a value in it is not encrypted.
    """
    data, _ = _metadata(path)
    plain = sorted(name for name, value in data.items() if not str(value).startswith("ENC["))
    if plain:
        raise BadInputError(
            f"the values of {', '.join(map(str, plain))} are not encrypted",
            where=str(path),
            hint="they have been exposed: make new ones",
        )
    return frozenset(map(str, data))


def recipients_in_file(path: Path) -> frozenset[str]:
    """Return the recipients of a file: age public keys, and `kind:id` for keys of other kinds.

    Raises:
        BadInputError: the file is not a sops file.
    """
    _, metadata = _metadata(path)
    groups = [metadata, *_mappings(metadata.get("key_groups"))]
    return frozenset(who for group in groups for who in _recipients(group))


def recipients_in_config(path: Path) -> frozenset[str]:
    """Return the recipients that a .sops.yaml names, over all its rules.

    Raises:
        BadInputError: the file is not a sops configuration.
    """
    rules = _read_yaml(path).get("creation_rules")
    if not isinstance(rules, list):
        raise BadInputError("has no creation_rules", where=str(path))
    groups = [
        group for rule in _mappings(rules) for group in (rule, *_mappings(rule.get("key_groups")))
    ]
    return frozenset(who for group in groups for who in _recipients(group))


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


@dataclass(frozen=True, slots=True)
class DecryptCheck:
    """Result of `can_decrypt`; when not `ok`, the reason and the remedy."""

    ok: bool
    reason: str = ""
    hint: str = ""


def can_decrypt(path: Path, age_key_file: Path | None) -> DecryptCheck:
    """Check that a key in `age_key_file` is a recipient of `path`; decrypts nothing.

    Raises:
        BadInputError: `path` is not a sops file.
    """
    recipients = recipients_in_file(path)
    if age_key_file is None or not age_key_file.is_file():
        place = age_key_file or "no place that was named"
        return DecryptCheck(
            False,
            f"this machine has no age key: there is no file at {place}",
            f"copy the key file of one of its recipients there, or set {KEY_VARIABLE}",
        )
    try:
        own = public_keys(age_key_file)
    except PrerequisiteError as error:
        return DecryptCheck(False, str(error), error.hint or "name another key file")
    if own & recipients:
        return DecryptCheck(True)
    return DecryptCheck(
        False,
        f"the key {age_key_file} is for {', '.join(sorted(own))}, and the file is encrypted for "
        f"{', '.join(sorted(recipients))}",
        "ask a recipient to add that public key to secrets.recipients, and to run `agency "
        "render` and `sops updatekeys`",
    )
