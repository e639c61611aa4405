"""The signing key is kept so that nobody else can sign, and is made once."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from agency.errors import AgencyError, PrerequisiteError
from agency.transcript import signing
from agency.transcript.signing import (
    KeyFileError,
    PublicKeyError,
    load_key,
    load_or_create_key,
    load_public_key,
    private_pem,
    public_pem,
)

PKCS8 = b"PRIVATE KEY"  # what the header of a key in PKCS #8 says


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "transcript.key"


@pytest.fixture
def wide_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_and_kept_private(place: Path, wide_umask: None) -> None:
    first = load_or_create_key(place)
    assert mode(place) == 0o600
    assert mode(place.parent) == 0o700
    assert public_pem(load_or_create_key(place)) == public_pem(first)
    assert list(place.parent.iterdir()) == [place], "nothing is left beside it"


def test_two_keys_differ(tmp_path: Path) -> None:
    assert public_pem(load_or_create_key(tmp_path / "a" / "k")) != public_pem(
        load_or_create_key(tmp_path / "b" / "k")
    )


def test_all_who_come_at_once_get_one_key(place: Path) -> None:
    barrier, found = threading.Barrier(8), []

    def come() -> None:
        barrier.wait()
        found.append(public_pem(load_or_create_key(place)))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o620, 0o601, 0o644, 0o777])
def test_a_key_that_others_may_use_is_refused(place: Path, bits: int) -> None:
    load_or_create_key(place)
    place.chmod(bits)
    with pytest.raises(KeyFileError, match=f"mode is {bits:04o}") as caught:
        load_or_create_key(place)
    assert caught.value.where == str(place)
    assert caught.value.hint is not None
    place.chmod(0o600)
    load_or_create_key(place)


def test_a_directory_that_others_may_enter_is_closed(place: Path) -> None:
    place.parent.mkdir(mode=0o755)
    load_or_create_key(place)
    assert mode(place.parent) == 0o700


def test_a_symbolic_link_is_refused(place: Path, tmp_path: Path) -> None:
    load_or_create_key(tmp_path / "elsewhere" / "k")
    place.parent.mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere" / "k")
    with pytest.raises(KeyFileError, match="symbolic link"):
        load_or_create_key(place)


def test_a_dangling_link_is_refused_and_nothing_made_behind_it(place: Path, tmp_path: Path) -> None:
    place.parent.mkdir(mode=0o700)
    place.symlink_to(tmp_path / "planted")
    with pytest.raises(KeyFileError, match="symbolic link"):
        load_or_create_key(place)
    assert not (tmp_path / "planted").exists()


def test_what_is_no_file_is_refused(place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    with pytest.raises(AgencyError):
        load_or_create_key(place)
    place.rmdir()
    os.mkfifo(place, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_or_create_key(place)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("whose", ["key", "directory"])
def test_another_users_key_is_refused(place: Path, whose: str) -> None:
    load_or_create_key(place)
    os.chown(place if whose == "key" else place.parent, 12345, -1)
    with pytest.raises(KeyFileError, match="another user"):
        load_or_create_key(place)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN %s-----\n" % PKCS8])
def test_a_damaged_key_is_refused_and_not_replaced(place: Path, content: bytes) -> None:
    load_or_create_key(place)
    place.write_bytes(content)
    with pytest.raises(KeyFileError, match="PKCS #8"):
        load_or_create_key(place)
    assert place.read_bytes() == content


def test_a_key_is_never_in_an_error(place: Path) -> None:
    load_or_create_key(place)
    text = place.read_text()
    secret = text.splitlines()[1]
    place.write_text(text.replace("-----END PRIVATE KEY-----", ""))
    with pytest.raises(KeyFileError) as caught:
        load_or_create_key(place)
    assert secret not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


def test_other_kinds_of_keys_are_refused() -> None:
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP256R1()),
    ):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(KeyFileError, match="Ed25519"):
            load_key(pem)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(PublicKeyError, match="Ed25519"):
            load_public_key(public)


def test_an_encrypted_key_is_refused() -> None:
    lock = BestAvailableEncryption(b"pass")
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    with pytest.raises(KeyFileError, match="unencrypted"):
        load_key(pem)


def test_keys_come_back_as_they_were(key: Ed25519PrivateKey) -> None:
    assert public_pem(load_key(private_pem(key))) == public_pem(key)
    assert load_public_key(public_pem(key)) == key.public_key()


def test_a_private_key_is_no_public_key_and_is_not_shown(key: Ed25519PrivateKey) -> None:
    with pytest.raises(PublicKeyError, match="private key") as caught:
        load_public_key(private_pem(key))
    assert private_pem(key).decode().splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"ssh-ed25519 AAAA", b"\x00" * 100])
def test_what_is_no_public_key_is_refused(text: bytes) -> None:
    with pytest.raises(PublicKeyError, match="PEM"):
        load_public_key(text)


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_leaves_no_half_key(
    place: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(signing.os, call, full)
    with pytest.raises(PrerequisiteError, match="No space left"):
        load_or_create_key(place)
    assert list(place.parent.iterdir()) == []
    monkeypatch.undo()
    load_or_create_key(place)


P = 2**255 - 19
SMALL_ORDER = {
    "identity": "0100000000000000000000000000000000000000000000000000000000000000",
    "order 2": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order 4": "0000000000000000000000000000000000000000000000000000000000000000",
    "order 4, odd": "0000000000000000000000000000000000000000000000000000000000000080",
    "order 8 a": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8 a, odd": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8 b": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8 b, odd": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}
NOT_CANONICAL = {
    f"p + {over}, sign {sign}": ((P + over) | (sign << 255)).to_bytes(32, "little").hex()
    for over in range(19)
    for sign in (0, 1)
}
SIGN_OF_ZERO = {
    "identity, odd": "0100000000000000000000000000000000000000000000000000000000000080",
    "order 2, odd": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}


@pytest.mark.parametrize("raw", [*SMALL_ORDER.values(), *NOT_CANONICAL.values(),
                                 *SIGN_OF_ZERO.values()])  # fmt: skip
def test_a_weak_key_is_refused(raw: str) -> None:
    weak = Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw))
    pem = weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PublicKeyError, match="weak key"):
        load_public_key(pem)


def test_the_library_alone_takes_a_signature_that_nobody_made() -> None:
    weak = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER["identity"]))
    weak.verify(bytes.fromhex(SMALL_ORDER["identity"]) + bytes(32), b"anything at all")
