"""One value, encrypted: it decrypts as what it was stored for, and as nothing else."""

from __future__ import annotations

import base64
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vaulting import master_key

from agency.control.vault.cipher import (
    Box,
    Identity,
    KeyLostError,
    TamperedError,
    decrypt,
    encrypt,
)
from agency.control.vault.keys import read_keyring
from agency.errors import PrerequisiteError
from agency.secrets import SecretValue

KEYS = read_keyring(SecretValue(master_key()))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDENTITIES = st.builds(Identity, TEXTS, TEXTS, st.integers(1, 2**31))


def counting() -> object:
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


@given(IDENTITIES, TEXTS)
def test_a_value_comes_back_as_it_was(identity: Identity, value: str) -> None:
    box = encrypt(KEYS, identity, SecretValue(value), counting())  # type: ignore[arg-type]
    assert decrypt(KEYS, identity, box).reveal() == value


@given(IDENTITIES, IDENTITIES, TEXTS)
def test_it_is_bound_to_name_type_and_version(one: Identity, other: Identity, value: str) -> None:
    box = encrypt(KEYS, one, SecretValue(value), bytes)
    if one == other:
        assert decrypt(KEYS, other, box).reveal() == value
        return
    with pytest.raises(TamperedError):
        decrypt(KEYS, other, box)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_no_two_identities_have_the_same_associated_data(a: str, b: str, c: str, d: str) -> None:
    one, other = Identity(a, b, 1), Identity(c, d, 1)
    assert (one.bound("k") == other.bound("k")) is (one == other)


@given(st.data())
def test_a_changed_bit_is_refused(data: st.DataObject) -> None:
    identity = Identity("github", "text", 1)
    box = encrypt(KEYS, identity, SecretValue("value"), bytes)
    raw = bytearray(base64.b64decode(box.ciphertext))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << (at % 8)
    changed = replace(box, ciphertext=base64.b64encode(bytes(raw)).decode())
    with pytest.raises(TamperedError):
        decrypt(KEYS, identity, changed)


@pytest.mark.parametrize(
    "broken",
    [
        {"nonce": "zz"},
        {"nonce": ""},
        {"nonce": "00" * 12},
        {"ciphertext": "?"},
        {"ciphertext": ""},
    ],
)
def test_a_broken_row_is_refused_without_a_word_of_it(broken: dict[str, str]) -> None:
    identity = Identity("github", "text", 1)
    box = encrypt(KEYS, identity, SecretValue("value"), lambda size: b"\1" * size)
    with pytest.raises(TamperedError) as caught:
        decrypt(KEYS, identity, replace(box, **broken))
    assert "github, version 1" in caught.value.message
    assert caught.value.__cause__ is None


def test_a_key_that_is_not_loaded_is_named() -> None:
    other = read_keyring(SecretValue(master_key()))
    identity = Identity("github", "text", 1)
    box = encrypt(KEYS, identity, SecretValue("value"), bytes)
    with pytest.raises(KeyLostError, match=KEYS.newest.id):
        decrypt(other, identity, box)
    assert decrypt(KEYS, identity, Box(*vars_of(box))).reveal() == "value"


def vars_of(box: Box) -> tuple[str, str, str]:
    return box.key_id, box.nonce, box.ciphertext


def test_the_newest_key_writes_and_the_others_read() -> None:
    old, new = master_key(), master_key()
    identity = Identity("github", "text", 1)
    before = encrypt(read_keyring(SecretValue(old)), identity, SecretValue("value"), bytes)
    both = read_keyring(SecretValue(f"{new} {old}"))
    assert decrypt(both, identity, before).reveal() == "value"
    after = encrypt(both, identity, SecretValue("value"), bytes)
    assert decrypt(read_keyring(SecretValue(new)), identity, after).reveal() == "value"


@pytest.mark.parametrize("text", ["", "short", "a" * 44, "!" * 43, "é" * 43])
def test_what_is_no_key_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(PrerequisiteError, match="master key") as caught:
        read_keyring(SecretValue(text))
    assert not text or text not in str(caught.value)


def test_a_keyring_says_nothing_of_its_keys() -> None:
    key = master_key()
    ring = read_keyring(SecretValue(key))
    said = repr(ring)
    assert key not in said
    assert ring.newest.encrypting.hex() not in said
    assert repr(ring.newest.encrypting) not in said
