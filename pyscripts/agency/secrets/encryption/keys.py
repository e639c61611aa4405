"""Search for an age key: every place where one can be, and what was found in each."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.secrets.encryption.age import KEY_VARIABLE, new_key_file, public_keys_of
from agency.secrets.encryption.document import CONFIG_FILE, Document
from agency.secrets.values import SecretValue

TEXT_VARIABLE = "SOPS_AGE_KEY"
MAX_BYTES = 1024 * 1024
PIPE_WAIT_S = 10.0
_IDENTITY = "AGE-SECRET-KEY-1"
_PLUGIN = "AGE-PLUGIN-"


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """One place of a key: a file, or a text that the environment holds."""

    label: str
    path: Path | None = None
    text: SecretValue | None = None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """Content of a place: its identities and their public keys, or the reason why it has none."""

    label: str
    identities: SecretValue | None = None
    public: frozenset[str] = frozenset()
    reason: str = ""
    warning: str = ""


class KeySearch:
    """Places of an age key in the order in which they are tried. Each is read once, when needed.

    A pipe can be read only once, so that the content is kept.
    """

    def __init__(self, places: tuple[KeyPlace, ...]) -> None:
        self.places = places
        self._found: tuple[FoundKey, ...] | None = None

    def found(self) -> tuple[FoundKey, ...]:
        """Read every place.

        Raises:
            PrerequisiteError: age is not installed.
        """
        if self._found is None:
            self._found = tuple(map(_read_place, self.places))
        return self._found

    def opening(self, recipients: frozenset[str]) -> FoundKey | None:
        """Return the first content with a key that is one of `recipients`."""
        return next((one for one in self.found() if one.public & recipients), None)

    def tried(self) -> str:
        """List the places and what each holds, for a message; no secret is in it."""
        return "; ".join(f"{one.label}: {one.reason or _told(one)}" for one in self.found())

    def own(self) -> frozenset[str]:
        """Return the public keys of all identities that were found."""
        return frozenset(key for one in self.found() for key in one.public)

    def warnings(self) -> tuple[str, ...]:
        """Return what is unsafe about the places that hold a key."""
        return tuple(one.warning for one in self.found() if one.warning)


Keys = KeySearch | Path | None


def as_search(keys: Keys) -> KeySearch:
    """Return a search of the one file, if only that is given."""
    if isinstance(keys, KeySearch):
        return keys
    return KeySearch(() if keys is None else (KeyPlace(str(keys), path=keys),))


def key_places(
    instance: str, named: Path | None = None, environ: Mapping[str, str] = os.environ
) -> KeySearch:
    """Search the places of an instance's key; a `named` file is the only place then."""
    if named is not None:
        return as_search(named)
    places = []
    if environ.get(TEXT_VARIABLE):
        text = SecretValue(environ[TEXT_VARIABLE])
        places.append(KeyPlace(f"${TEXT_VARIABLE}", text=text))
    if environ.get(KEY_VARIABLE):
        file = Path(environ[KEY_VARIABLE])
        places.append(KeyPlace(f"${KEY_VARIABLE} ({file})", path=file))
    own, shared = new_key_file(instance, environ), _of_sops(environ)
    places += [KeyPlace(str(own), path=own), KeyPlace(str(shared), path=shared)]
    return KeySearch(tuple(places))


def _of_sops(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "sops" / "age" / "keys.txt"


def _told(found: FoundKey) -> str:
    return f"the key of {', '.join(sorted(found.public))}"


def _read_place(place: KeyPlace) -> FoundKey:
    warning = ""
    try:
        if place.text is not None:
            text = place.text.reveal()
        else:
            assert place.path is not None
            text, mode = _read_file(place.path)
            if mode & 0o077:
                warning = f"others can read the key: `chmod 600 {place.path}`"
        identities = SecretValue(_identities(text))
        return FoundKey(place.label, identities, public_keys_of(identities), warning=warning)
    except BadInputError as error:
        return FoundKey(place.label, reason=error.message)


def _identities(text: str) -> str:
    """Pick the lines with identities, and refuse all else but comments.

    sops and age refuse a whole file for the one line of a plugin; its other keys are good.
    """
    kept, plugins = [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip().removeprefix("\ufeff")
        if word.startswith(_IDENTITY):
            kept.append(word)
        elif word.startswith(_PLUGIN):
            plugins += 1
        elif word and not word.startswith("#"):
            raise BadInputError(f"is not a readable age key file: line {number} holds no identity")
    if not kept:
        what = "only identities of plugins, which are not supported" if plugins else "no identity"
        raise BadInputError(f"is not a readable age key file: it holds {what}")
    return "\n".join(kept) + "\n"


def _read_file(path: Path) -> tuple[str, int]:
    """Read a key file or a pipe; returns its text and the permission bits of a file."""
    try:
        # Not blocking: opening a pipe without a writer would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadInputError("there is no file") from None
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror or error}") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise BadInputError("is a directory, not an age key file")
        data = _read_all(descriptor)
        mode = stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else 0
        return data.decode(), mode
    except UnicodeDecodeError:
        # Without the cause: its message would quote bytes of the key.
        raise BadInputError("is not a readable age key file: it is not text") from None
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    data, deadline = b"", time.monotonic() + PIPE_WAIT_S
    while len(data) <= MAX_BYTES:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise BadInputError(f"nothing came from it in {PIPE_WAIT_S:g} s")
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return data
        data += chunk
    raise BadInputError(f"is larger than {MAX_BYTES} bytes")


def identity_for(path: Path, document: Document, keys: Keys) -> SecretValue:
    """Pick the identity that opens a document.

    Raises:
        PrerequisiteError: no key that was found is a recipient, or more keys are needed.
    """
    search = as_search(keys)
    needed, groups = document.groups_needed, document.groups()
    if needed > 1:
        own = search.own()
        opened = sum(1 for group in groups if group & own)
        raise PrerequisiteError(
            f"it is split: {needed} of its {len(groups)} key groups are needed to open it, and the "
            f"keys of this machine open {opened}",
            where=str(path),
            hint="an instance has one group: holders of the other keys together run "
            f"`sops updatekeys {path}` with the rendered {CONFIG_FILE}",
        )
    found = search.opening(document.recipients())
    if found is None or found.identities is None:
        raise _no_key(search, document.recipients(), str(path))
    return found.identities


def _no_key(search: KeySearch, recipients: frozenset[str], where: str) -> AgencyError:
    """Make the error for a file that no key of this machine opens."""
    own = search.own()
    if own:
        message = "no age key of this machine opens it"
        key = min(own)
        hint = (
            f"ask a person who can decrypt to list {key} in secrets.recipients: "
            f"`agency secrets recipients add OWNER {key}`"
        )
    else:
        message = "this machine has no age key"
        hint = "copy the key of one of its recipients to one of these places, or name it: --age-key"
    tried = search.tried() or "no place was named"
    listed = ", ".join(sorted(recipients))
    return PrerequisiteError(
        f"{message}; tried {tried}. It is encrypted for {listed}", where=where, hint=hint
    )
