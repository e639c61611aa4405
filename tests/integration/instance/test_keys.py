"""Where a key can be, and what is said when none opens the file; sops sees that key alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.secrets.encryption import age, keys, sops
from agency.secrets.encryption.by_hand import edit_by_hand
from agency.secrets.values import SecretValue

Agency = Callable[..., int]


@pytest.fixture
def text(made: Any) -> str:
    """Take the key from its place; returns its text."""
    content: str = made.key.read_text()
    made.key.unlink()
    return content


class TestPlaces:
    """Each place is tried, whatever the others hold."""

    def test_variable_with_the_key_itself(
        self, made: Any, text: str, agency: Agency, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert agency("secrets", "doctor", made.root) == 3
        monkeypatch.setenv("SOPS_AGE_KEY", text)
        assert agency("secrets", "doctor", made.root) == 0
        assert agency("check", made.root, "--decrypt") == 0
        assert agency("secrets", "rotate", "k", "--instance", made.root) == 1

    def test_file_of_sops_itself(
        self, made: Any, text: str, agency: Agency, tmp_path: Path
    ) -> None:
        place = tmp_path / "home/.config/sops/age/keys.txt"
        place.parent.mkdir(parents=True)
        other = age.new_key().identity.reveal()
        place.write_text(f"{other}AGE-PLUGIN-YUBIKEY-1QQQQ\n{text}".replace("\n", "\r\n"))
        assert agency("secrets", "doctor", made.root) == 0

    def test_key_of_another_project_hides_nothing(
        self, made: Any, agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        age.store_key(age.new_key(), tmp_path / "other.key")
        monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "other.key"))
        assert agency("secrets", "doctor", made.root) == 0
        monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "nowhere"))
        assert agency("secrets", "doctor", made.root) == 0
        monkeypatch.setenv("SOPS_AGE_KEY", "rubbish")
        assert agency("secrets", "doctor", made.root) == 0
        # But a key that is named is the only one.
        assert agency("secrets", "doctor", made.root, "--age-key", tmp_path / "other.key") == 3

    def test_pipe_is_read_once_and_serves_every_step(self, made: Any, text: str) -> None:
        reader, writer = os.pipe()
        os.write(writer, text.encode())
        os.close(writer)
        argv = [sys.executable, "-m", "agency", "secrets", "rotate", "matrix-as-token", "--yes"]
        argv += ["--instance", str(made.root), "--age-key", f"/dev/fd/{reader}"]
        done = subprocess.run(argv, pass_fds=[reader], timeout=60, capture_output=True)
        os.close(reader)
        assert done.returncode == 0, done.stderr

    def test_pipe_that_nobody_writes_to_is_given_up(
        self, made: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keys, "PIPE_WAIT_S", 0.2)
        reader, writer = os.pipe()
        try:
            with pytest.raises(PrerequisiteError) as caught:
                sops.decrypt(made.encrypted, Path(f"/dev/fd/{reader}"))
        finally:
            os.close(reader)
            os.close(writer)
        assert "nothing came from it" in caught.value.message

    def test_message_names_every_place(
        self, made: Any, text: str, agency: Agency, tmp_path: Path, monkeypatch: Any, capsys: Any
    ) -> None:
        other = age.new_key()
        age.store_key(other, tmp_path / "other.key")
        monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "other.key"))
        capsys.readouterr()
        assert agency("check", made.root, "--decrypt") == 3
        said = " ".join(capsys.readouterr().err.split())
        for place in (f"other.key): the key of {other.recipient}", str(made.key), "keys.txt"):
            assert place in said
        assert f"agency secrets recipients add OWNER {other.recipient}" in said
        assert text.split()[-1] not in said

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "no identity"),
            (b"AGE-PLUGIN-YUBIKEY-1QQQQ\n", "only identities of plugins"),
            (b"# a comment\nhunter2\n", "line 2 holds no identity"),
            (b"\xff\xfe", "is not text"),
            (None, "is a directory"),
        ],
    )
    def test_file_that_is_none(
        self, made: Any, tmp_path: Path, content: bytes | None, words: str
    ) -> None:
        place = tmp_path / "bad.key"
        if content is None:
            place.mkdir()
        else:
            place.write_bytes(content)
        with pytest.raises(PrerequisiteError) as caught:
            sops.decrypt(made.encrypted, place)
        assert words in caught.value.message
        assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"

    def test_key_that_others_can_read_is_told(self, made: Any, agency: Agency, capsys: Any) -> None:
        capsys.readouterr()
        assert agency("secrets", "doctor", made.root) == 0
        assert "chmod" not in capsys.readouterr().out
        made.key.chmod(0o666)
        assert agency("secrets", "doctor", made.root) == 0
        assert f"chmod 600 {made.key}" in capsys.readouterr().out


class TestSops:
    """Each failure of sops is told as what it is."""

    @pytest.mark.parametrize("name", ["id_ed25519", "id_rsa"])
    def test_stray_keys_of_the_person_take_no_part(
        self, made: Any, agency: Agency, tmp_path: Path, name: str
    ) -> None:
        """getsops/sops 1987: a malformed or foreign SSH key made every decryption fail."""
        (tmp_path / "home/.ssh").mkdir(parents=True)
        (tmp_path / "home/.ssh" / name).write_text("rubbish")
        (tmp_path / "home/.config/sops/age").mkdir(parents=True)
        (tmp_path / "home/.config/sops/age/keys.txt").write_text("rubbish")
        assert agency("secrets", "doctor", made.root) == 0
        rotate = ("secrets", "rotate", "matrix-as-token", "--instance", made.root, "--yes")
        assert agency(*rotate) == 0

    @pytest.mark.parametrize(
        ("answer", "words"),
        [("echo 'sops 3.8.1 (latest)'", "is version 3.8"), ("exit 1", "tells no version")],
    )
    def test_old_sops(
        self,
        made: Any,
        agency: Agency,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        answer: str,
        words: str,
    ) -> None:
        """A stand-in with an old one's answer: no old sops is at hand."""
        shadow = tmp_path / "shadow"
        shadow.mkdir()
        (shadow / "sops").write_text(f"#!/bin/sh\n{answer}\n")
        (shadow / "sops").chmod(0o755)
        monkeypatch.setenv("PATH", f"{shadow}{os.pathsep}{os.environ['PATH']}")
        flags = ("--domain", "a.example", "--operator", "@a:a.example")
        for arguments in (
            ("init", tmp_path / "x", *flags),
            ("check", made.root, "--decrypt"),
            ("secrets", "rekey", made.root, "--yes"),
        ):
            capsys.readouterr()
            assert agency(*arguments) == 3
            said = capsys.readouterr().err
            assert words in said
            assert "3.9 or newer is needed" in said

    def test_key_groups(self, made: Any, agency: Agency, tmp_path: Path) -> None:
        """getsops/sops 810: two groups, of which this machine has one."""
        own, other = (
            sorted(age.public_keys_of(SecretValue(made.key.read_text())))[0],
            age.new_key().recipient,
        )
        (tmp_path / ".sops.yaml").write_text(
            "creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n"
            f"      - age: [{own}]\n      - age: [{other}]\n"
        )
        plain = tmp_path / "plain.yaml"
        plain.write_text("matrix-as-token: some long value\n")
        done = subprocess.run(
            ["sops", "encrypt", str(plain)],
            cwd=tmp_path,
            check=True,
            timeout=30,
            capture_output=True,
        )
        made.encrypted.write_bytes(done.stdout)
        with pytest.raises(PrerequisiteError, match="2 of its 2 key groups are needed") as caught:
            sops.decrypt(made.encrypted, made.key)
        assert "open 1" in caught.value.message
        with pytest.raises(PrerequisiteError, match="2 of its 2 key groups are needed"):
            edit_by_hand(made.encrypted, done.stdout, made.key)
        assert agency("check", made.root) == 1

    def test_mac_and_damage_are_told_apart(self, made: Any) -> None:
        text = made.encrypted.read_text()
        lines = text.splitlines(keepends=True)
        made.encrypted.write_text("".join(x for x in lines if not x.startswith("matrix-as")))
        with pytest.raises(BadInputError, match="MAC does not match") as caught:
            sops.decrypt(made.encrypted, made.key)
        assert "rekey --ignore-mac" in str(caught.value.hint)
        made.encrypted.write_text(text.replace("matrix-as-token", "matrix-x"))
        with pytest.raises(BadInputError, match="damaged or has another name") as caught:
            sops.decrypt(made.encrypted, made.key)
        assert f"git -C {made.root} checkout HEAD" in str(caught.value.hint)


class TestGuards:
    """The encrypted file and .sops.yaml have the limits of instance.yaml."""

    LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")
    )

    @pytest.mark.parametrize("name", ["secrets/secrets.yaml", ".sops.yaml"])
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (LAUGHS, "anchors and aliases"),
            ("a: " + "[" * 200_000, "nested deeper than 20 levels"),
            ("".join(f"{' ' * n}k:\n" for n in range(1800)), "nested deeper than 20 levels"),
            ("a: 1\na: 2\n", "is here twice"),
            ("a: !!python/object:os.system x\n", "tag"),
            ("a: x\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", "merge conflict"),
            ("a: " + "x" * (4 * 1024 * 1024), "is larger than"),
        ],
    )
    def test_hostile_file_is_refused_at_once(
        self, made: Any, agency: Agency, capsys: Any, name: str, content: str, words: str
    ) -> None:
        file = made.root / name
        file.unlink()
        file.write_text(content)
        capsys.readouterr()
        assert agency("check", made.root) == 1
        said = capsys.readouterr().out
        assert words in said
        if words == "merge conflict":
            assert f"{file}:2: " in said
            assert said.count("merge conflict") == 1
        assert agency("secrets", "doctor", made.root) == 1
