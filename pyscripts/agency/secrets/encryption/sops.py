"""Client of the program sops: encrypt, decrypt, change and re-encrypt.

Plain values go to sops by standard input or by a file in memory, never by argv or the environment.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from agency.errors import BadInputError
from agency.programs import ProgramError, find_program
from agency.secrets.encryption.document import (
    CONFIG_FILE,
    RECORD,
    names_in_file,
    parse,
    read_document,
    recipients_in_config,
    recipients_in_file,
)
from agency.secrets.encryption.keys import Keys, identity_for
from agency.secrets.encryption.program import (
    SECRETS_FILE,
    SOPS_HINT,
    UNCHANGED,
    SopsError,
    explain,
    find_sops,
    in_memory,
    private_directory,
    run_sops,
)
from agency.secrets.values import SecretValue

__all__ = [
    "CONFIG_FILE",
    "SECRETS_FILE",
    "SOPS_HINT",
    "amend",
    "decrypt",
    "encrypt",
    "find_sops",
    "names_in_file",
    "opened_text",
    "opened_values",
    "recipients_in_config",
    "recipients_in_file",
    "rewrap",
]

_COPY = "secrets.yaml"


def encrypt(
    values: Mapping[str, SecretValue],
    recipients: Iterable[str],
    *,
    changed: Mapping[str, str] | None = None,
) -> bytes:
    """Encrypt values for age recipients; returns a sops YAML file whose keys are readable.

    `changed` records the date of each value's last change.

    Raises:
        PrerequisiteError: sops is not installed, or too old.
        BadInputError: sops refused.
    """
    content: dict[str, object] = {name: value.reveal() for name, value in values.items()}
    if changed:
        content[RECORD] = dict(changed)
    argv = [
        *("encrypt", "--age", ",".join(sorted(recipients))),
        *("--input-type", "json", "--output-type", "yaml"),
        *("--filename-override", _COPY, "/dev/stdin"),
    ]
    try:
        return run_sops(argv, stdin=json.dumps(content).encode())
    except ProgramError:
        # Without the cause: sops may quote its input in its message.
        raise BadInputError(
            "sops could not encrypt", where="sops", hint="are the recipients age public keys?"
        ) from None


def decrypt(path: Path, keys: Keys) -> dict[str, SecretValue]:
    """Decrypt a file; return its values by name, without empty ones.

    Raises:
        PrerequisiteError: sops or the key is missing, or the key is not a recipient of the file.
        BadInputError: the file is not a sops file, was changed, or holds a value that is not text.
    """
    identity = identity_for(path, read_document(path), keys)
    argv = ["decrypt", "--output-type", "json", str(path.absolute())]
    try:
        output = run_sops(argv, identity=identity)
    except ProgramError as failure:
        raise explain(failure, path, "decrypt") from None
    values = {name: value for name, value in json.loads(output).items() if name != RECORD}
    wrong = sorted(
        name for name, value in values.items() if not isinstance(value, str) and value is not None
    )
    if wrong:
        raise BadInputError(
            f"the secrets {', '.join(wrong)} are not text",
            where=str(path),
            hint=f"give each one a text: `agency secrets set {wrong[0]}`",
        )
    return {name: SecretValue(value) for name, value in values.items() if value}


def opened_text(path: Path, content: bytes, keys: Keys, *, ignore_mac: bool = False) -> str:
    """Decrypt the content of a file to YAML with its comments; for the code that changes it.

    Raises:
        PrerequisiteError, BadInputError: as `decrypt`.
    """
    return _opened(path, content, keys, "yaml", ignore_mac=ignore_mac).decode()


def opened_values(path: Path, content: bytes, keys: Keys) -> dict[str, SecretValue]:
    """Decrypt the content of a file to its values; one that is no text is given as JSON.

    Raises:
        PrerequisiteError, BadInputError: as `decrypt`.
    """
    found = json.loads(_opened(path, content, keys, "json"))
    return {
        name: SecretValue(value if isinstance(value, str) else json.dumps(value))
        for name, value in found.items()
        if name != RECORD
    }


def _opened(
    path: Path, content: bytes, keys: Keys, form: str, *, ignore_mac: bool = False
) -> bytes:
    identity = identity_for(path, parse(path, content), keys)
    ignore = ["--ignore-mac"] if ignore_mac else []
    with private_directory() as place:
        (place / _COPY).write_bytes(content)
        argv = ["decrypt", *ignore, "--output-type", form, str(place / _COPY)]
        try:
            return run_sops(argv, identity=identity)
        except ProgramError as failure:
            raise explain(failure, path, "decrypt") from None


def amend(path: Path, content: bytes, keys: Keys, text: str, *, ignore_mac: bool = False) -> bytes:
    """Return the encrypted `content` with the plain YAML `text` in place of its own.

    The data key stays, and the lines of unchanged values are the same bytes: sops's own editing
    does that, with an editor that copies the text from memory.

    Raises:
        PrerequisiteError, BadInputError: as `decrypt`.
    """
    identity = identity_for(path, parse(path, content), keys)
    copy = find_program("cp", hint="install coreutils")
    ignore = ["--ignore-mac"] if ignore_mac else []
    with private_directory() as place, in_memory(text.encode()) as new:
        (place / _COPY).write_bytes(content)
        editor = {"SOPS_EDITOR": f"{shlex.quote(copy)} /proc/self/fd/{new}"}
        try:
            run_sops(
                ["edit", *ignore, str(place / _COPY)],
                identity=identity,
                descriptors=[new],
                environ=editor,
            )
        except ProgramError as failure:
            if not (isinstance(failure, SopsError) and failure.status == UNCHANGED):
                raise explain(failure, path, "encrypt") from None
        return (place / _COPY).read_bytes()


def rewrap(
    path: Path, content: bytes, keys: Keys, recipients: Iterable[str], *, new_data_key: bool
) -> bytes:
    """Return the encrypted `content` for other recipients.

    With `new_data_key`, every value is encrypted anew with a key that no former recipient knows.
    Without, only the data key is encrypted for the new recipients, and the values stay.

    Raises:
        PrerequisiteError, BadInputError: as `decrypt`.
    """
    identity = identity_for(path, parse(path, content), keys)
    rules = {"creation_rules": [{"age": ",".join(sorted(recipients))}]}
    with private_directory() as place:
        (place / _COPY).write_bytes(content)
        (place / CONFIG_FILE).write_text(json.dumps(rules))
        try:
            run_sops(["updatekeys", "--yes", _COPY], identity=identity, cwd=place)
            if new_data_key:
                run_sops(["rotate", "--in-place", _COPY], identity=identity, cwd=place)
        except ProgramError as failure:
            raise explain(failure, path, "re-encrypt") from None
        return (place / _COPY).read_bytes()
