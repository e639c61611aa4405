"""Seal over the register: what secrets there are, in which version, and bound to which agents.

Each value is bound to its name, type and version; the seal binds these together. So a row that was
put back, a binding that was added, or a flag that was changed past the control plane is noticed. A
database that was put back as a whole is not: that is what a restore does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence

from agency.canonical import canonical_json
from agency.control.vault.cipher import RESTORE, TamperedError, key_lost
from agency.control.vault.keys import Keyring, MasterKey

# Of each secret: name, type, version, whether it is critical, key id and nonce.
Entry = tuple[str, str, int, bool, str, str]
Binding = tuple[str, str]  # secret, agent


def seal(keys: Keyring, entries: Iterable[Entry], bindings: Iterable[Binding]) -> str:
    """Seal the register with the newest master key."""
    return json.dumps([keys.newest.id, _mac(keys.newest, entries, bindings)])


def check_seal(
    keys: Keyring, kept: str | None, entries: Sequence[Entry], bindings: Sequence[Binding]
) -> None:
    """Check that the register is as it was sealed; an empty one needs no seal.

    Raises:
        KeyLostError: it was sealed with a master key that is not loaded.
        TamperedError: it is not as it was sealed.
    """
    if kept is None and not entries and not bindings:
        return
    key_id, mac = _read(kept)
    key = keys.by_id.get(key_id)
    if key is None and key_id:
        raise key_lost(key_id)
    if key is None or not hmac.compare_digest(mac, _mac(key, entries, bindings)):
        raise TamperedError(
            "the vault's register of secrets was changed outside the control plane", hint=RESTORE
        )


def sign(keys: Keyring, said: list[object]) -> str:
    """Make the MAC of a row beside the register."""
    return _row_mac(keys.newest, said)


def is_signed(keys: Keyring, said: list[object], mac: str) -> bool:
    """Return whether a row is as the control plane stored it, with whichever key is loaded."""
    made = (_row_mac(key, said) for key in keys.by_id.values())
    return any(hmac.compare_digest(each, mac) for each in made)


def _row_mac(key: MasterKey, said: list[object]) -> str:
    return hmac.new(key.sealing, b"row\0" + canonical_json(said), hashlib.sha256).hexdigest()


def _read(kept: str | None) -> tuple[str, str]:
    try:
        key_id, mac = json.loads(kept or "null")
        return str(key_id), str(mac)
    except (ValueError, TypeError):
        return "", ""


def _mac(key: MasterKey, entries: Iterable[Entry], bindings: Iterable[Binding]) -> str:
    said = {"secrets": sorted(map(list, entries)), "bindings": sorted(map(list, bindings))}
    return hmac.new(key.sealing, canonical_json(said), hashlib.sha256).hexdigest()
