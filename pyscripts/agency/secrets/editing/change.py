"""A change of an encrypted file: what will be different, and the writing of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import AgencyError, BadInputError, InternalError, PrerequisiteError
from agency.files import rewrite, write_atomically
from agency.locks import take
from agency.secrets.classes import SecretSpec
from agency.secrets.editing.plain import changed_text
from agency.secrets.encryption import sops
from agency.secrets.encryption.document import Document, parse, read_bytes
from agency.secrets.encryption.keys import Keys
from agency.secrets.values import SecretValue

LOCK_WAIT_S = 10.0
_POLL_S = 0.1
_MARK = "accepted_unencrypted"


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change of one encrypted file, from `before` to `after`.

    `values` are the names whose values differ; `encrypted_anew` those whose line does.
    """

    path: Path
    before: bytes
    after: bytes
    values: tuple[str, ...]
    removed: tuple[str, ...]
    encrypted_anew: tuple[str, ...]
    recipients_added: tuple[str, ...]
    recipients_removed: tuple[str, ...]
    new_data_key: bool
    restarts: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the plan as `--json` prints it."""
        return {
            "file": str(self.path),
            "values": list(self.values),
            "removed": list(self.removed),
            "encryptedAnew": list(self.encrypted_anew),
            "recipientsAdded": list(self.recipients_added),
            "recipientsRemoved": list(self.recipients_removed),
            "newDataKey": self.new_data_key,
            "restarts": list(self.restarts),
        }

    def write(self) -> None:
        """Write the new content through links, if the file is still the one of the plan.

        Raises:
            BadInputError: it was changed since; nothing is written.
            PrerequisiteError: it cannot be written; nothing is changed.
        """
        with _locked(self.path):
            if read_bytes(self.path) != self.before:
                raise BadInputError(
                    "was changed by another program since the plan was made; nothing was written",
                    where=str(self.path),
                    hint="run the command again",
                )
            rewrite(self.path, self.after)


def compare(
    path: Path,
    before: bytes,
    after: bytes,
    *,
    values: Iterable[str],
    specs: Iterable[SecretSpec],
) -> Change:
    """Plan the change from one content to another; `values` are the names whose values differ."""
    old, new = parse(path, before), parse(path, after)
    changed = tuple(sorted(values))
    anew = [name for name, line in new.values.items() if line != old.values.get(name)]
    kept = [name for name in new.values if new.values[name] == old.values.get(name)]
    restarts = {unit for spec in specs if spec.name in changed for unit in spec.restarts}
    return Change(
        path,
        before,
        after,
        values=changed,
        removed=tuple(sorted(set(old.values) - set(new.values))),
        encrypted_anew=tuple(anew),
        recipients_added=tuple(sorted(new.recipients() - old.recipients())),
        recipients_removed=tuple(sorted(old.recipients() - new.recipients())),
        new_data_key=bool(anew) and not kept and len(anew) > len(set(changed)),
        restarts=tuple(sorted(restarts)),
    )


def plan_values(
    path: Path,
    keys: Keys,
    values: Mapping[str, SecretValue],
    specs: Iterable[SecretSpec],
    *,
    today: str,
) -> Change:
    """Plan to set values. The lines of the others stay the same bytes.

    Raises:
        PrerequisiteError: this machine cannot decrypt.
        BadInputError: the file was changed by something but sops.
    """
    before = read_bytes(path)
    plain = sops.opened_text(path, before, keys)
    wanted = changed_text(plain, values, today=today)
    after = sops.amend(path, before, keys, wanted)
    expected = sops.opened_values(path, before, keys) | dict(values)
    if sops.opened_values(path, after, keys) != expected:
        raise InternalError("sops wrote other values than it was given", where=str(path))
    return compare(path, before, after, values=values, specs=specs)


def plan_edited(
    path: Path,
    keys: Keys,
    before: bytes,
    edited: bytes,
    specs: Iterable[SecretSpec],
    *,
    today: str,
) -> tuple[Change, dict[str, SecretValue]]:
    """Plan what a person edited, with the dates of what differs; also return the new values."""
    old = sops.opened_values(path, before, keys)
    new = sops.opened_values(path, edited, keys)
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    after = edited
    if changed or set(old) - set(new):
        # Written once more as text: a person leaves out quotes, and sops would store a number.
        plain = sops.opened_text(path, edited, keys)
        after = sops.amend(path, edited, keys, changed_text(plain, changed, today=today))
    return compare(path, before, after, values=changed, specs=specs), new


def plan_rekey(
    path: Path,
    keys: Keys,
    recipients: Iterable[str],
    *,
    new_data_key: bool = True,
    ignore_mac: bool = False,
) -> Change:
    """Plan the encryption for `recipients`, with a new data key unless that is declined.

    With `ignore_mac`, a content whose MAC does not match is accepted as it is.

    Raises:
        PrerequisiteError: this machine cannot decrypt.
        BadInputError: the file was changed by something but sops.
    """
    before = read_bytes(path)
    content = before
    if ignore_mac:
        plain = sops.opened_text(path, before, keys, ignore_mac=True)
        # sops writes a new MAC only if something differs.
        content = sops.amend(path, before, keys, f'{plain}{_MARK}: ""\n', ignore_mac=True)
        content = sops.amend(path, content, keys, plain)
    else:
        sops.opened_text(path, before, keys)  # raises if the MAC does not match
    after = sops.rewrap(path, content, keys, recipients, new_data_key=new_data_key)
    change = compare(path, before, after, values=(), specs=())
    if new_data_key and _shares_a_line(parse(path, before), parse(path, after)):
        raise InternalError("sops kept the data key", where=str(path))
    return change


def _shares_a_line(one: Document, other: Document) -> bool:
    lines = (line for line in one.values.items() if str(line[1]).startswith("ENC["))
    return any(other.values.get(name) == line for name, line in lines)


def keep_aside(path: Path, content: bytes) -> Path:
    """Keep encrypted content beside the file that it could not replace; returns its path."""
    aside = path.with_name(f"{path.stem}.edited{path.suffix}")
    write_atomically(aside, content, mode=0o600)
    return aside


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on the directory of a file: the file itself is replaced."""
    where = path.resolve().parent
    busy: AgencyError = PrerequisiteError(
        "another command changes it now", where=str(path), hint="try again when that has ended"
    )
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be opened: {error.strerror or error}", where=str(where)
        ) from error
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not take(descriptor):
            if time.monotonic() > deadline:
                raise busy
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
